"""A bad release of a trained detector in ring canary: the canary is back at once, the others never see it."""

from __future__ import annotations

import shutil

from canary import check_a_bad_canary
from shelfgap_export.signing import generate_key, sign_bundle


def test_a_bad_release_stays_on_no_canary_and_reaches_nobody_else(patches_bundle, tmp_path):
    pair = generate_key(tmp_path / "keys" / "release")
    bundle = shutil.copytree(patches_bundle, tmp_path / "bundle")
    sign_bundle(bundle, pair.private_key)
    check_a_bad_canary(bundle, pair, tmp_path)
