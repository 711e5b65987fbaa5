package lsp

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sourcegraph/jsonrpc2"
	"go.uber.org/goleak"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// editor is the other side of a session.
type editor struct {
	t         *testing.T
	conn      *jsonrpc2.Conn
	published chan publishDiagnosticsParams
	ended     chan error
	dir       string
	versions  map[string]int
}

func open(t *testing.T, files map[string]string) *editor {
	t.Helper()
	e := &editor{t: t, published: make(chan publishDiagnosticsParams, 64), ended: make(chan error, 1), dir: t.TempDir(), versions: map[string]int{}}
	for name, text := range files {
		path := filepath.Join(e.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	toServer, fromEditor := io.Pipe()
	toEditor, fromServer := io.Pipe()
	go func() {
		e.ended <- Serve(t.Context(), &control.Service{Registry: edition.Standard()}, "v0", toServer, fromServer)
	}()
	e.conn = jsonrpc2.NewConn(t.Context(), jsonrpc2.NewBufferedStream(stdio{toEditor, fromEditor}, jsonrpc2.VSCodeObjectCodec{}),
		jsonrpc2.HandlerWithError(func(_ context.Context, _ *jsonrpc2.Conn, r *jsonrpc2.Request) (any, error) {
			var p publishDiagnosticsParams
			if err := json.Unmarshal(*r.Params, &p); err != nil {
				t.Error(err)
			}
			e.published <- p
			return nil, nil
		}))
	var got struct {
		Capabilities map[string]any `json:"capabilities"`
	}
	e.call("initialize", map[string]any{"rootUri": uriOf(e.dir)}, &got)
	if got.Capabilities["hoverProvider"] != true {
		t.Errorf("capabilities %v", got)
	}
	t.Cleanup(func() { _ = e.conn.Close() }) // it may be closed already
	return e
}

func (e *editor) call(method string, params, result any) {
	e.t.Helper()
	if err := e.conn.Call(e.t.Context(), method, params, result); err != nil {
		e.t.Fatalf("%s: %v", method, err)
	}
}

func (e *editor) uri(name string) string { return uriOf(filepath.Join(e.dir, name)) }

// write opens or changes a text.
func (e *editor) write(name, text string) {
	e.t.Helper()
	e.versions[name]++
	doc := map[string]any{"uri": e.uri(name), "version": e.versions[name], "text": text}
	params := map[string]any{"textDocument": doc, "contentChanges": []map[string]any{{"text": text}}}
	method := "textDocument/didChange"
	if e.versions[name] == 1 {
		method = "textDocument/didOpen"
	}
	if err := e.conn.Notify(e.t.Context(), method, params); err != nil {
		e.t.Fatal(err)
	}
}

// found waits for the diagnostics of the newest version of a file.
func (e *editor) found(name string) []string {
	e.t.Helper()
	for p := range e.published {
		if p.URI != e.uri(name) || p.Version != nil && *p.Version != e.versions[name] {
			continue
		}
		var out []string
		for _, d := range p.Diagnostics {
			out = append(out, d.Code)
		}
		return out
	}
	return nil
}

// ask asks about the place of the mark ‸ in a text, which becomes the file's.
func (e *editor) ask(method, name, marked string, result any) {
	e.t.Helper()
	before, after, ok := strings.Cut(marked, "‸")
	if !ok {
		e.t.Fatal("no mark")
	}
	e.write(name, before+after)
	at := position{strings.Count(before, "\n"), len([]rune(before[strings.LastIndexByte(before, '\n')+1:]))}
	e.call("textDocument/"+method, map[string]any{"textDocument": map[string]any{"uri": e.uri(name)}, "position": at}, result)
}

func (e *editor) complete(marked string) []string {
	e.t.Helper()
	var list completionList
	e.ask("completion", "flow.yaml", marked, &list)
	var out []string
	for _, i := range list.Items {
		out = append(out, i.Label)
	}
	return out
}

const schema = `apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: order }
spec:
  jsonSchema:
    type: object
    properties:
      id: { type: string, description: "The order's number." }
      total: { type: number, format: decimal }
      lines: { type: array, items: { type: object, properties: { sku: { type: string } }, required: [sku] } }
    required: [id, total, lines]
`

const flow = `apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: orders }
spec:
  from: { file: { path: in.jsonl, format: { json: {} } }, schema: order }
  steps:
    - filter: body.total > decimal("1")
    - map: { id: "${body.id}", skus: "${body.lines.map(l, l.sku)}" }
  to: { stdout: { format: { json: {} } } }
`

func TestDiagnosticsWhileTyping(t *testing.T) {
	e := open(t, map[string]string{"schema.yaml": schema, "flow.yaml": flow})
	e.write("flow.yaml", flow)
	if got := e.found("flow.yaml"); len(got) != 0 {
		t.Errorf("a good flow has %v", got)
	}
	e.write("flow.yaml", strings.Replace(flow, "body.total", "body.totl", 1))
	if got := e.found("flow.yaml"); !slices.Equal(got, []string{"unknown-field"}) && len(got) != 1 {
		t.Errorf("a wrong field gives %v", got)
	}
	e.write("flow.yaml", flow)
	if got := e.found("flow.yaml"); len(got) != 0 {
		t.Errorf("mended, it still has %v", got)
	}
	e.call("shutdown", nil, nil)
	if err := e.conn.Notify(t.Context(), "exit", nil); err != nil {
		t.Fatal(err)
	}
	if err := <-e.ended; err != nil {
		t.Error(err)
	}
}

func TestCompletion(t *testing.T) {
	e := open(t, map[string]string{"schema.yaml": schema, "flow.yaml": flow})
	for name, c := range map[string]struct {
		from, to string // what of the flow is replaced by what
		want     []string
	}{
		"a field of the body":         {"body.total >", "body.‸ >", []string{"id", "total", "lines"}},
		"a root":                      {"body.total >", "b‸", []string{"body", "meta", "key"}},
		"in a template":               {"${body.id}", "${body.‸}", []string{"id", "total"}},
		"half a template":             {"\"${body.id}\"", "\"${body.‸\"", []string{"id", "total"}},
		"an element of a list":        {"body.total >", "body.lines[0].‸", []string{"sku"}},
		"a verb":                      {"- filter: body.total > decimal(\"1\")", "- fil‸", []string{"filter", "map", "choice", "name", "when"}},
		"a connector":                 {"to: { stdout", "to: { st‸ { stdout", []string{"stdout", "file", "drop"}},
		"a field of a connector":      {"path: in.jsonl,", "path: in.jsonl, ‸", []string{"path", "format"}},
		"a codec":                     {"format: { json: {} } }, schema", "format: { ‸", []string{"json", "csv"}},
		"a value":                     {"  steps:", "  order: ‸\n  steps:", []string{"total", "per-key", "none"}},
		"a resource's name":           {"schema: order", "schema: ‸", []string{"order"}},
		"a field of the flow":         {"  steps:", "  ‸\n  steps:", []string{"order", "onError", "concurrency"}},
		"the kind":                    {"kind: Flow", "kind: ‸", []string{"Flow", "Schema", "Channel"}},
		"the top":                     {"kind: Flow", "‸", []string{"apiVersion", "kind", "spec"}},
		"below a choice in a choice":  {"- filter: body.total > decimal(\"1\")", "- choice:\n        - when: body.id == \"\"\n          steps:\n            - choi‸", []string{"choice", "map"}},
		"what a source can't do here": {"from: { file", "from: { ‸", []string{"file", "stdin", "channel"}},
	} {
		got := e.complete(strings.Replace(flow, c.from, c.to, 1))
		for _, w := range c.want {
			if !slices.Contains(got, w) {
				t.Errorf("%s: no %q in %v", name, w, got)
			}
		}
		if name == "what a source can't do here" && slices.Contains(got, "stdout") {
			t.Errorf("stdout is offered as a source")
		}
	}
}

func TestHover(t *testing.T) {
	e := open(t, map[string]string{"schema.yaml": schema, "flow.yaml": flow})
	for name, c := range map[string]struct{ from, to, want string }{
		"a path":                     {"body.total >", "body.to‸tal >", "body.total: decimal"},
		"a variable of a macro":      {"l.sku", "l.s‸ku", "l.sku: string"},
		"a function":                 {"decimal(\"1\")", "deci‸mal(\"1\")", "decimal"},
		"a word":                     {"- filter", "- fil‸ter", "pass"},
		"a verb with the body after": {"- map:", "- ma‸p:", "skus: list(string)"},
		"a field":                    {"path: in", "pa‸th: in", "file"},
	} {
		var got hover
		e.ask("hover", "flow.yaml", strings.Replace(flow, c.from, c.to, 1), &got)
		if !strings.Contains(got.Contents.Value, c.want) {
			t.Errorf("%s: no %q in %q", name, c.want, got.Contents.Value)
		}
	}
}

func TestDefinition(t *testing.T) {
	e := open(t, map[string]string{"schema.yaml": schema, "flow.yaml": flow})
	var got location
	e.ask("definition", "flow.yaml", strings.Replace(flow, "schema: order", "schema: or‸der", 1), &got)
	if got.URI != e.uri("schema.yaml") || got.Range.Start.Line != 2 {
		t.Errorf("%+v", got)
	}
}

func TestAProjectIsTheNearestIntegration(t *testing.T) {
	const integration = "apiVersion: penstock.dev/v1alpha1\nkind: Integration\nmetadata: { name: a }\n"
	e := open(t, map[string]string{"a/penstock.yaml": integration, "a/schemas/order.yaml": schema, "a/flows/flow.yaml": flow, "b/flow.yaml": flow})
	e.write("a/flows/flow.yaml", flow)
	if got := e.found("a/flows/flow.yaml"); len(got) != 0 {
		t.Errorf("the schema beside it is not seen: %v", got)
	}
	e.write("b/flow.yaml", flow)
	if got := e.found("b/flow.yaml"); !slices.Equal(got, []string{"dangling-reference"}) {
		t.Errorf("the schema of another project is seen: %v", got)
	}
}

func TestWrongRequests(t *testing.T) {
	e := open(t, nil)
	for _, c := range []struct {
		method string
		params any
	}{
		{"textDocument/hover", nil},
		{"textDocument/hover", map[string]any{"textDocument": map[string]any{"uri": "https://example.com/x"}}},
		{"textDocument/completion", "text"},
		{"textDocument/rename", map[string]any{}},
	} {
		if err := e.conn.Call(t.Context(), c.method, c.params, nil); err == nil {
			t.Errorf("%s %v passes", c.method, c.params)
		}
	}
}
