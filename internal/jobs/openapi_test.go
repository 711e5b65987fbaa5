package jobs_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/jobs"
	"penstock.dev/penstock/internal/store/memory"
)

// described is the description, as the tests hold what is asked and answered to it.
type described struct {
	Paths      map[string]map[string]json.RawMessage
	Components struct {
		Responses map[string]response
		Schemas   map[string]json.RawMessage
	}
}

type response struct {
	Ref     string                     `json:"$ref"`
	Headers map[string]json.RawMessage `json:"headers"`
	Content map[string]struct {
		Schema struct {
			Ref string `json:"$ref"`
		}
	}
}

var description = sync.OnceValue(func() (d described) {
	if err := json.Unmarshal(jobs.OpenAPI(), &d); err != nil {
		panic(err)
	}
	return d
})

// schemaOf is the schema behind a reference into the description.
var schemaOf = func() func(t testing.TB, ref string) *jsonschema.Schema {
	var mu sync.Mutex
	known := map[string]*jsonschema.Schema{}
	c := jsonschema.NewCompiler()
	return func(t testing.TB, ref string) *jsonschema.Schema {
		mu.Lock()
		defer mu.Unlock()
		if len(known) == 0 {
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(jobs.OpenAPI()))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.AddResource("pull.json", doc); err != nil {
				t.Fatal(err)
			}
		}
		if known[ref] == nil {
			s, err := c.Compile("pull.json" + ref)
			if err != nil {
				t.Fatal(err)
			}
			known[ref] = s
		}
		return known[ref]
	}
}()

// fits says whether a JSON text is what a schema of the description describes.
func fits(t testing.TB, ref string, text []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return schemaOf(t, ref).Validate(v)
}

// operationOf is what the description says of a path below a queue.
func operationOf(t testing.TB, method, below string) (request string, responses map[string]response) {
	var op struct {
		RequestBody struct {
			Content map[string]struct {
				Schema struct {
					Ref string `json:"$ref"`
				}
			}
		}
		Responses map[string]response
	}
	text := description().Paths[jobs.Root+"{queue}"+below][strings.ToLower(method)]
	if text == nil {
		return "", nil
	}
	if err := json.Unmarshal(text, &op); err != nil {
		t.Fatal(err)
	}
	for status, r := range op.Responses {
		if name, ok := strings.CutPrefix(r.Ref, "#/components/responses/"); ok {
			op.Responses[status] = description().Components.Responses[name]
		}
	}
	return op.RequestBody.Content["application/json"].Schema.Ref, op.Responses
}

// asDescribed holds each answer to the description.
func asDescribed(t testing.TB, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		maps.Copy(w.Header(), rec.Header())
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes())
		path := strings.TrimPrefix(r.URL.Path, jobs.Root)
		_, below, _ := strings.Cut(path, "/")
		if below != "" {
			below = "/" + below
		}
		_, responses := operationOf(t, r.Method, below)
		if responses == nil || r.Context().Err() != nil {
			return // it is no operation, or nobody hears the answer
		}
		res, ok := responses[fmt.Sprint(rec.Code)]
		if !ok {
			t.Errorf("%s %s answers %d, which is not described", r.Method, below, rec.Code)
			return
		}
		content, ok := res.Content[rec.Header().Get("Content-Type")]
		if !ok {
			t.Errorf("%s %s answers %d in %q, which is not described", r.Method, below, rec.Code, rec.Header().Get("Content-Type"))
			return
		}
		if err := fits(t, content.Schema.Ref, rec.Body.Bytes()); err != nil {
			t.Errorf("%s %s answers %d %.300s, which is not as described: %v", r.Method, below, rec.Code, rec.Body.Bytes(), err)
		}
		for name := range res.Headers {
			if rec.Header().Get(name) == "" {
				t.Errorf("%s %s answers %d without %s", r.Method, below, rec.Code, name)
			}
		}
	})
}

// TestOpenAPIIsValid: the description is what OpenAPI's own schema asks of one, and what it refers to is there.
func TestOpenAPIIsValid(t *testing.T) {
	text, err := os.ReadFile("testdata/openapi-3.1-schema.json")
	if err != nil {
		t.Fatal(err)
	}
	own, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("https://spec.openapis.org/own.json", own); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("https://spec.openapis.org/own.json")
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(jobs.OpenAPI()))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(v); err != nil {
		t.Error(err)
	}
	used := map[string]bool{}
	for _, m := range regexp.MustCompile(`"\$ref": ?"([^"]*)"`).FindAllSubmatch(jobs.OpenAPI(), -1) {
		ref := string(m[1])
		used[ref] = true
		at := v
		for _, name := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
			m, _ := at.(map[string]any)
			at = m[name]
		}
		if at == nil {
			t.Errorf("%s is nowhere", ref)
		}
	}
	for kind, all := range v.(map[string]any)["components"].(map[string]any) {
		for name := range all.(map[string]any) {
			if ref := "#/components/" + kind + "/" + name; kind != "securitySchemes" && !used[ref] {
				t.Errorf("%s is used by nothing", ref)
			}
		}
	}
}

// routes notes what is mounted.
type routes struct{ all []string }

func (r *routes) Mount(m penstock.HTTPRoute) (func(), error) {
	r.all = append(r.all, m.Method+" "+m.Path)
	return func() {}, nil
}

// TestOpenAPIHasAllOperations: what is described is there, and what is there is described.
func TestOpenAPIHasAllOperations(t *testing.T) {
	var there routes
	if _, err := jobs.NewService(nil, jobs.Options{}).Mount(&there, nil); err != nil {
		t.Fatal(err)
	}
	want := []string{"GET " + jobs.Root + "openapi.json"} // of itself it says nothing
	for path, item := range description().Paths {
		for method := range item {
			if method != "parameters" {
				want = append(want, strings.ToUpper(method)+" "+path)
			}
		}
	}
	slices.Sort(want)
	slices.Sort(there.all)
	if !slices.Equal(there.all, want) {
		t.Errorf("there are %q, and described are %q", there.all, want)
	}
}

// TestOpenAPIRequests: what is described is taken, and what is taken is described. Answers are held to the description wherever a test asks anything.
func TestOpenAPIRequests(t *testing.T) {
	for below, bodies := range map[string]map[string]int{
		"/lease": {`{}`: 200, `{"max":1,"waitMs":0,"leaseMs":1000,"worker":"w"}`: 200, `{"max":-1}`: 400, `{"waitMs":-1}`: 400, `{"leaseMs":-1}`: 400, `{"max":"1"}`: 400, `{"most":1}`: 400, `null`: 400, `[]`: 400},
		"/heartbeat": {`{"jobs":[]}`: 200, `{"jobs":[{"id":"a","epoch":1,"leaseMs":1}]}`: 409, `{"jobs":[{"id":"a","epoch":1,"leaseMs":-1}]}`: 400, `{}`: 400, `{"jobs":[{"epoch":1}]}`: 400,
			`{"jobs":[` + strings.Repeat(`{"id":"a","epoch":1},`, 1024) + `{"id":"a","epoch":1}]}`: 400, `{"jobs":[{"id":"a","epoch":1,"result":1}]}`: 400},
		"/complete": {`{"jobs":[{"id":"a","epoch":0,"result":{"any":[]}}]}`: 409, `{"jobs":[{"id":"a"}]}`: 400, `{"jobs":[{"id":"","epoch":1}]}`: 400, `{"jobs":[{"id":"a","epoch":-1}]}`: 400, `{"jobs":[{"id":"a","epoch":1,"final":true}]}`: 400},
		"/release":  {`{"jobs":[{"id":"a","epoch":1}]}`: 409, `{"jobs":[{"id":"a","epoch":18446744073709551616}]}`: 400, `{"jobs":[{"id":"a","epoch":1,"leaseMs":1}]}`: 400, `{"jobs":[1]}`: 400},
		"/fail": {`{"jobs":[{"id":"a","epoch":1,"error":"e","code":"unavailable","final":true,"afterMs":0}]}`: 409, `{"jobs":[{"id":"a","epoch":1,"code":"oops"}]}`: 400, `{"jobs":[{"id":"a","epoch":1,"afterMs":-1}]}`: 400,
			`{"jobs":[{"id":"a","epoch":1,"afterMs":31622400000}]}`: 409, `{"jobs":[{"id":"a","epoch":1,"afterMs":31622400001}]}`: 400, `{"jobs":[],"more":1}`: 400},
	} {
		p := newPulled(t, memory.New(), labels())
		request, _ := operationOf(t, http.MethodPost, below)
		for body, want := range bodies {
			p.enqueue(0, 1) // so that nobody has to wait; the next one is another one
			if code, says := p.post(below, body); code != want {
				t.Errorf("%s %.80s: %d %s", below, body, code, says)
			}
			if err := fits(t, request, []byte(body)); (err == nil) != (want != 400) {
				t.Errorf("%s %.80s: %d, and described is %v", below, body, want, err)
			}
		}
	}
}

// TestOpenAPIBounds: what the description says of codes and counts is what there is.
func TestOpenAPIBounds(t *testing.T) {
	var problem struct {
		Properties struct {
			Code struct{ Enum []penstock.Code }
		}
	}
	var queue struct {
		Properties map[string]struct{ Description string }
	}
	s := description().Components.Schemas
	if err := json.Unmarshal(s["Problem"], &problem); err != nil || !slices.Equal(problem.Properties.Code.Enum, penstock.Codes()) {
		t.Error(problem, err)
	}
	text, err := json.Marshal(jobs.QueueLook{})
	if err != nil {
		t.Fatal(err)
	}
	var has map[string]any
	if err := json.Unmarshal(text, &has); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(s["Queue"], &queue); err != nil || !slices.Equal(slices.Sorted(maps.Keys(has)), slices.Sorted(maps.Keys(queue.Properties))) {
		t.Errorf("%v, and described are %v: %v", slices.Sorted(maps.Keys(has)), slices.Sorted(maps.Keys(queue.Properties)), err)
	}
}
