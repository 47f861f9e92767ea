const { createElement: h } = globalThis.React;
globalThis.Report = (props) => h("pre", null, "hello " + JSON.stringify(props));
