// {"tables": {name: [[column, type], ...]}, "queries": {name: text}} on stdin -> {name: {problems, columns}} on stdout:
// Microsoft's own KQL parser and binder, over the tables given.
const path = require('path');
const service = path.join(process.argv[2], '@kusto', 'language-service-next');
require(path.join(service, 'bridge.min.js'));
require(path.join(service, 'Kusto.Language.Bridge.min.js'));
const { KustoCode, GlobalState, Symbols } = Kusto.Language;

const items = (list, type) =>
  Array.from({ length: list ? list.Count : 0 }, (_, i) => (list.getItem ? list.getItem(i) : System.Array.getItem(list, i, type)));

const { tables, queries } = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const schema = columns => `(${columns.map(([name, type]) => `['${name}']: ${type === 'boolean' ? 'bool' : type}`).join(', ')})`;
const symbols = Object.entries(tables).map(([name, columns]) => Symbols.TableSymbol.From(schema(columns)).WithName(name));
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.$ctor1('workspace', symbols));

const answers = {};
for (const [name, text] of Object.entries(queries)) {
  const code = KustoCode.ParseAndAnalyze(text, globals);
  const result = code.ResultType;
  answers[name] = {
    problems: items(code.GetDiagnostics(), Kusto.Language.Diagnostic).map(d => `${d.Severity} ${d.Code} at ${d.Start}: ${d.Message}`),
    columns: items(result && result.Columns, Symbols.ColumnSymbol).map(c => [c.Name, c.Type.Name]),
  };
}
process.stdout.write(JSON.stringify(answers));
