/** Finding and filling elements. Texts go in by `textContent` alone, so nothing a listener typed becomes markup. */

export function find<E extends Element = HTMLElement>(selector: string, within: ParentNode = document): E {
  const found = within.querySelector<E>(selector);
  if (!found) throw new Error(`The page has no ${selector}`);
  return found;
}

export function byTestId<E extends Element = HTMLElement>(id: string, within: ParentNode = document): E {
  return find<E>(`[data-testid="${id}"]`, within);
}

/** A fresh copy of a `<template>`'s one element. */
export function fromTemplate(id: string): HTMLElement {
  const template = find<HTMLTemplateElement>(`template#${id}`);
  return (template.content.cloneNode(true) as DocumentFragment).firstElementChild as HTMLElement;
}

/** Writes a text only where it differs: every write costs a layout, sixty times a second. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function setIcon(button: Element, name: string): void {
  const use = find<SVGUseElement>("use", button);
  if (use.getAttribute("href") !== `#i-${name}`) use.setAttribute("href", `#i-${name}`);
}

/** Makes `list` show `items`, keeping the elements (and the focus) of those that stay. */
export function showList<T>(
  list: HTMLElement,
  items: readonly T[],
  keyOf: (item: T) => string,
  make: (item: T) => HTMLElement,
  fill: (element: HTMLElement, item: T) => void,
): void {
  const old = new Map(Array.from(list.children, (child) => [(child as HTMLElement).dataset["key"] ?? "", child]));
  items.forEach((item, index) => {
    const key = keyOf(item);
    const element = (old.get(key) as HTMLElement | undefined) ?? make(item);
    element.dataset["key"] = key;
    old.delete(key);
    if (list.children[index] !== element) list.insertBefore(element, list.children[index] ?? null);
    fill(element, item);
  });
  for (const gone of old.values()) gone.remove();
}
