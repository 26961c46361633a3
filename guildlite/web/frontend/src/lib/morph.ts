/**
 * Make an element's content like another's, touching only what differs.
 *
 * What the reader is doing stays: an open `details`, a field that is typed into, a selection in
 * text that did not change. Children with an id are matched by it, others by their place.
 */
export function morph(from: Element, to: Element): void {
  for (const { name, value } of [...to.attributes]) {
    if (from.getAttribute(name) !== value && !kept(from, name)) from.setAttribute(name, value);
  }
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && !kept(from, name)) from.removeAttribute(name);
  }
  if (from === document.activeElement && from.matches("input, textarea, select")) return;
  if (!from.isEqualNode(to)) children(from, to);
}

function kept(element: Element, name: string): boolean {
  return name === "open" && element.tagName === "DETAILS";
}

function children(from: Element, to: Element): void {
  const byId = new Map([...from.children].filter((each) => each.id).map((each) => [each.id, each]));
  let place: ChildNode | null = from.firstChild;
  for (const wanted of [...to.childNodes]) {
    const same = wanted instanceof Element && wanted.id ? byId.get(wanted.id) : undefined;
    if (same) {
      if (same === place) place = place.nextSibling;
      else from.insertBefore(same, place);
      morph(same, wanted as Element);
      continue;
    }
    const here = place;
    if (here && alike(here, wanted)) {
      place = here.nextSibling;
      if (here instanceof Element) morph(here, wanted as Element);
      else if (here.nodeValue !== wanted.nodeValue) here.nodeValue = wanted.nodeValue;
    } else from.insertBefore(document.importNode(wanted, true), here);
  }
  while (place) {
    const next: ChildNode | null = place.nextSibling;
    place.remove();
    place = next;
  }
}

/** Whether one node can become the other: nothing with an id of its own is taken for another. */
function alike(a: Node, b: Node): boolean {
  if (a.nodeType !== b.nodeType || a.nodeName !== b.nodeName) return false;
  return !(a instanceof Element) || (!a.id && !(b as Element).id);
}
