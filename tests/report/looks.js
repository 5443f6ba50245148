// What a reader sees of a page: an expression that gives
// {sideways, hidden, faint, spilled}, each a list of what is wrong.
(() => {
  document.querySelectorAll("details").forEach((one) => { one.open = true; });
  const parse = (text) => {
    const numbers = (text.match(/[\d.]+/g) || []).map(Number);
    return text === "transparent" || text === "none" || numbers.length < 3
      ? [0, 0, 0, 0] : [numbers[0], numbers[1], numbers[2], numbers[3] ?? 1];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [high, low] = [light(one), light(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const paint = (element) => {
    const style = getComputedStyle(element);
    if (element instanceof SVGElement && !(element instanceof SVGSVGElement)) {
      const fill = parse(style.fill);
      return [fill[0], fill[1], fill[2], fill[3] * Number(style.fillOpacity)];
    }
    return parse(style.backgroundColor);
  };
  const behind = (element, x, y) => {
    const stack = document.elementsFromPoint(x, y);
    const from = stack.indexOf(element);
    const layers = [];
    for (const one of stack.slice(Math.max(from, 0))) {
      if (one instanceof SVGTextElement || one instanceof SVGUseElement) continue;
      const colour = paint(one);
      if (colour[3] > 0) layers.push(colour);
      if (colour[3] === 1) break;
    }
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const base = dark ? [18, 18, 18] : [255, 255, 255];
    return layers.reverse().reduce((below, top) => over(top, below), base);
  };
  const own = (element) => [...element.childNodes]
    .some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  const skipped = "title, desc, style, script, summary ::marker";
  const faint = [];
  const spilled = [];
  let read = 0;
  for (const element of document.body.querySelectorAll("*")) {
    if (!own(element) || element.matches(skipped)) continue;
    element.scrollIntoView({ block: "center", inline: "center" });
    const range = document.createRange();
    range.selectNodeContents(element);
    const place = range.getClientRects()[0] ?? element.getBoundingClientRect();
    const at = [place.x + Math.min(place.width / 2, 20), place.y + place.height / 2];
    const style = getComputedStyle(element);
    const back = behind(element, ...at);
    const ink = parse(element instanceof SVGElement ? style.fill : style.color);
    const ratio = contrast(over(ink, back), back);
    read += 1;
    if (ratio < 4.5) faint.push(`${ratio.toFixed(2)} ${element.textContent.trim().slice(0, 60)}`);
    const boxed = element.closest(".scroll, svg");
    if (!boxed && place.right > document.documentElement.clientWidth + 0.5) {
      spilled.push(element.textContent.trim().slice(0, 60));
    }
  }
  scrollTo(0, 0);
  const root = document.documentElement;
  return {
    read,
    faint,
    spilled,
    sideways: Math.max(root.scrollWidth, document.body.scrollWidth) - root.clientWidth,
    hidden: [...document.querySelectorAll("main > section")]
      .filter((one) => !one.checkVisibility() || one.getBoundingClientRect().height < 40)
      .map((one) => one.id),
    sections: [...document.querySelectorAll("main > section")].map((one) => one.id),
    nameless: [
      ...[...document.querySelectorAll('[role="img"], [role="region"], nav')]
        .filter((one) => !(one.getAttribute("aria-label") || one.querySelector("title"))),
      ...[...document.querySelectorAll("th")].filter((one) => !one.scope),
      ...[...document.querySelectorAll("section")]
        .filter((one) => !document.getElementById(one.getAttribute("aria-labelledby"))),
    ].map((one) => one.outerHTML.slice(0, 80)),
    landmarks: ["header", "nav", "main", "footer", "h1"]
      .filter((name) => document.querySelectorAll(name).length !== 1),
    unscrolled: [...document.querySelectorAll("table")]
      .filter((one) => !one.closest(".scroll")).length,
    text: document.body.innerText,
  };
})()
