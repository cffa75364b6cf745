// Keeping a view up to date without disturbing whoever is in the middle of it.

/** Does something now and then, while the view is shown and anybody can see it. */
export class Refresher {
  #timer;
  #running = false;

  constructor(work, every) {
    Object.assign(this, { work, every });
    this.look = () => !document.hidden && this.now();
  }

  start() {
    this.stop();
    this.#timer = setInterval(this.look, this.every);
    document.addEventListener('visibilitychange', this.look);
    this.now();
  }

  stop() {
    clearInterval(this.#timer);
    document.removeEventListener('visibilitychange', this.look);
  }

  /** Once and at once; never twice at the same time. */
  async now() {
    if (this.#running) return;
    this.#running = true;
    try {
      await this.work();
    } finally {
      this.#running = false;
    }
  }
}

/**
 * Makes the children of `parent` those of `items`, moving and making no more than needed: what has the focus keeps it.
 * `key` tells an item; `create` makes its element and `update` brings one up to date.
 */
export function reconcile(parent, items, { key, create, update }) {
  const before = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let element = before.get(name);
    before.delete(name);
    if (!element) {
      element = create(item);
      element.dataset.key = name;
    }
    update?.(element, item);
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
  }
  for (const gone of before.values()) gone.remove();
}

/** Sets a text only where it differs, so that nothing is read aloud or laid out anew for nothing. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Waits until somebody has stopped typing. */
export function unhurried(work, wait = 250) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, wait);
  };
}
