"""The look of the page and its script, and the policy that lets a browser load these and nothing else."""

from __future__ import annotations

import base64
import hashlib

REFRESH_SECONDS = 20

STYLE = """
:root{color-scheme:light dark;--ground:#f4f5f2;--sheet:#fff;--ink:#1a211d;--soft:#525d57;--line:#d3d9d4;--edge:#7b867f;
--accent:#0a5a4a;--on-accent:#fff;--gap:#b3261e;--low:#8a5300;--camera:#4a4f8f;--good:#1a6b3c;--wash:#e9edea}
@media (prefers-color-scheme:dark){:root{--ground:#101412;--sheet:#191f1c;--ink:#e9eeea;--soft:#aab5ae;--line:#343e38;
--edge:#7d8a82;--accent:#7cd9c0;--on-accent:#08231c;--gap:#ff9d93;--low:#f3c069;--camera:#b9bdff;--good:#86d9a5;
--wash:#242c28}}
*{box-sizing:border-box}
html{font:100%/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;background:var(--ground);
color:var(--ink);-webkit-text-size-adjust:100%;scroll-padding-top:1rem}
body{margin:0}
a{color:var(--accent);text-underline-offset:.2em}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px;border-radius:3px}
.skip{position:absolute;left:1rem;top:-4rem;background:var(--sheet);padding:.6rem 1rem;z-index:2}
.skip:focus{top:.5rem}
header,main,footer{max-width:72rem;margin:0 auto;padding:0 1rem}
header{padding-top:1.25rem;display:flex;flex-wrap:wrap;gap:.25rem 1.5rem;align-items:baseline;
justify-content:space-between}
h1{font-size:1.5rem;line-height:1.2;margin:0;overflow-wrap:anywhere}
h1 small{display:block;font-size:.8rem;font-weight:600;letter-spacing:.06em;text-transform:uppercase;color:var(--soft)}
h2{font-size:1.2rem;line-height:1.3;margin:2.25rem 0 .75rem}
h3{font-size:1rem;margin:1.25rem 0 .5rem}
p{margin:.25rem 0}
.meta{color:var(--soft);font-size:.9rem}
.tools{display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:center;font-size:.9rem}
.tools a{padding:.4rem 0}
nav{flex-basis:100%}
nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:0 1.25rem;margin:.25rem 0 .5rem;padding:0}
nav a{display:inline-block;padding:.35rem 0}
button{font:inherit;font-weight:600;min-height:2.75rem;padding:.45rem 1rem;border:1px solid var(--accent);
border-radius:.5rem;background:var(--accent);color:var(--on-accent);cursor:pointer}
button:hover{filter:brightness(1.12)}
button.quiet{background:transparent;color:var(--accent);border-color:var(--edge);font-weight:500;min-height:2.25rem;
padding:.25rem .75rem}
.note{border-left:.35rem solid var(--gap);background:var(--sheet);padding:.75rem 1rem;margin:1rem 0 0;
border-radius:.25rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.75rem;margin:1rem 0 0;padding:0}
.tile,.card,.sheet{background:var(--sheet);border:1px solid var(--line);border-radius:.75rem}
.tile{padding:.8rem 1rem;margin:0;display:flex;flex-direction:column-reverse;justify-content:flex-end}
.tile dt{font-size:.9rem;color:var(--soft)}
.tile dd{margin:0;font-size:1.9rem;font-weight:650;line-height:1.2;font-variant-numeric:tabular-nums}
.tile dd small{font-size:.9rem;font-weight:500;color:var(--soft);white-space:nowrap}
.tile dd.bad{color:var(--gap)}
.cards{list-style:none;margin:0;padding:0;display:grid;gap:.75rem;
grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr))}
.card{padding:.9rem 1rem;border-left:.4rem solid var(--mark,var(--edge));
display:flex;flex-direction:column;gap:.15rem}
.card form{margin-top:auto;padding-top:.6rem}
.card h3{margin:0;overflow-wrap:anywhere}
.card .top{display:flex;flex-wrap:wrap;gap:.25rem .75rem;justify-content:space-between;color:var(--soft);
font-size:.9rem}
.gap{--mark:var(--gap)}.low{--mark:var(--low)}.trouble{--mark:var(--camera)}.good{--mark:var(--good)}
.word{color:var(--mark,var(--soft));font-weight:650;white-space:nowrap}
.word svg{width:.8em;height:.8em;margin-right:.35em;vertical-align:-.03em;fill:currentColor}
.sheet{padding:.25rem 1rem;overflow-wrap:anywhere}
.rows{list-style:none;margin:0;padding:0}
.rows>li{padding:.65rem 0;border-top:1px solid var(--line);display:grid;gap:.1rem 1rem;
grid-template-columns:1fr auto;align-items:center}
.rows>li:first-child{border-top:0}
.rows .strip{grid-column:1/-1}
.rows b,.share{font-variant-numeric:tabular-nums;font-weight:650}
.rows dl{grid-column:1/-1;margin:0;display:flex;flex-wrap:wrap;gap:0 1.25rem;font-size:.9rem;color:var(--soft)}
.rows dl div{display:flex;gap:.4em}
.rows dd{margin:0;color:var(--ink)}
svg.strip,svg.bars{display:block;width:100%;overflow:visible}
svg .base{fill:var(--wash)}svg .bar{fill:var(--mark,var(--accent))}svg .line{stroke:var(--line)}
svg .strip-bar{fill:var(--accent)}
svg text{fill:var(--soft);font-size:.8rem}
details{margin:.5rem 0}
details>.rows,details>.log{padding-left:.1rem}
summary{cursor:pointer;padding:.5rem 0;font-weight:600;color:var(--accent)}
.lanes{list-style:none;margin:.5rem 0 0;padding:0;display:grid;gap:.55rem}
.lanes li{display:grid;gap:.15rem;font-size:.9rem}
.log{list-style:none;margin:0;padding:0}
.log li{display:grid;grid-template-columns:6.5rem 1fr;gap:0 .75rem;padding:.4rem 0;border-top:1px solid var(--line)}
.log li:first-child{border-top:0}
.log time{color:var(--soft);font-variant-numeric:tabular-nums}
.empty{padding:1rem;margin:0}
footer{color:var(--soft);font-size:.85rem;padding-top:2rem;padding-bottom:2rem}
[hidden]{display:none!important}
@media (max-width:32rem){.tiles{grid-template-columns:1fr 1fr}.tile:first-child{grid-column:1/-1}
.tile+.tile dd small{display:block}}
@media (min-width:48rem){.lanes li{grid-template-columns:13rem 1fr;align-items:center}
.rows.wide>li{grid-template-columns:14rem 1fr 4rem}
.rows.wide .strip{grid-column:2;grid-row:1}.rows.wide .share{text-align:right}
.rows.cameras>li{grid-template-columns:14rem 9rem 1fr}.rows.cameras dl{grid-column:auto}}
@media (forced-colors:active){svg .bar,svg .strip-bar{fill:CanvasText}}
@media (prefers-reduced-motion:no-preference){html{scroll-behavior:smooth}}
"""

SCRIPT = f"""
(() => {{
  const byId = id => document.getElementById(id);
  const pause = byId("pause"), stale = byId("stale"), said = byId("said");
  let paused = false;
  async function refresh() {{
    try {{
      const answer = await fetch(location.href, {{cache: "no-store", credentials: "same-origin"}});
      if (!answer.ok) throw new Error();
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("content");
      const old = byId("content");
      const held = document.activeElement && old.contains(document.activeElement) ? document.activeElement.id : "";
      for (const open of old.querySelectorAll("details[open]")) {{
        const same = fresh.querySelector("#" + CSS.escape(open.id));
        if (same) same.open = true;
      }}
      if (fresh.dataset.summary !== old.dataset.summary) said.textContent = fresh.dataset.summary;
      old.replaceWith(fresh);
      if (held && byId(held)) byId(held).focus({{preventScroll: true}});
      stale.hidden = true;
    }} catch {{ stale.hidden = false; }}
  }}
  pause.hidden = false;
  pause.addEventListener("click", () => {{
    paused = !paused;
    pause.textContent = paused ? pause.dataset.resume : pause.dataset.pause;
    if (!paused) refresh();
  }});
  setInterval(() => {{ if (!paused && !document.hidden) refresh(); }}, {REFRESH_SECONDS * 1000});
  document.addEventListener("visibilitychange", () => {{ if (!paused && !document.hidden) refresh(); }});
}})();
"""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src {_hash(STYLE)}",
        f"script-src {_hash(SCRIPT)}",
        "img-src data:",  # the empty icon, so that no browser asks for one
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
"""Value of the header that the service sends with the page: its own style and script by their hashes, nothing from
elsewhere."""

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Vary": "Accept-Language",
}
"""All headers of the page."""
