const { createElement: h } = globalThis.React;
globalThis.Models = (props) => h("pre", null, "hello " + JSON.stringify(props));
