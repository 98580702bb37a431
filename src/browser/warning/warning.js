// Warns before a session ends, and reports its end. The server decides; this script only asks it in time.
(() => {
  // Markup can shadow a property of `document` (`<img name=currentScript>`), but not of its prototype.
  const doc = (name, ...rest) => {
    const value = Reflect.get(Document.prototype, name, document);
    return rest.length ? value.apply(document, rest) : value;
  };
  const tag = doc('currentScript');
  // Neither can it shadow a symbol. A module has no tag: it leaves its address here.
  const source = globalThis[Symbol.for('tenure')] ||= tag.src;
