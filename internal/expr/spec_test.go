package expr

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	celpb "cel.dev/expr"
	_ "cel.dev/expr/conformance/proto2" // the test data mentions its messages
	_ "cel.dev/expr/conformance/proto3"
	conformance "cel.dev/expr/conformance/test"
	"google.golang.org/protobuf/encoding/prototext"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// specOutside are files of the specification's test data that have nothing to do with us.
var specOutside = map[string]string{
	"proto2":      "messages of protocol buffers",
	"proto2_ext":  "messages of protocol buffers",
	"proto3":      "messages of protocol buffers",
	"enums":       "enumerations of protocol buffers",
	"wrappers":    "messages of protocol buffers",
	"unknowns":    "partial evaluation",
	"block_ext":   "cel.block, which optimisers write, not people",
	"network_ext": "an extension that is not in the profile",
}

// specDir finds the module with the specification's tests.
func specDir(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "cel.dev/expr").Output()
	dir := filepath.Join(strings.TrimSpace(string(out)), "tests", "simple", "testdata")
	if err != nil || dir == filepath.Join("tests", "simple", "testdata") {
		t.Fatalf("the module cel.dev/expr is not there: %v", err)
	}
	return dir
}

// TestSpecification runs the CEL specification's own tests through both evaluators. What
// comes out differently must be in testdata/differences.txt, with its reason, and
// everything in there must still come out differently. Where the specification wants an
// error at run time, one at the check is as good.
func TestSpecification(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(specDir(t), "*.textproto"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	p := lenientProfile(t)
	listed := readDifferences(t)
	found := map[string]string{}
	ran := 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".textproto")
		if _, out := specOutside[name]; out {
			continue
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var f conformance.SimpleTestFile
		if err := prototext.Unmarshal(b, &f); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, section := range f.GetSection() {
			for _, test := range section.GetTest() {
				if outsideSpec(test) {
					continue
				}
				ran++
				key := name + "/" + section.GetName() + "/" + test.GetName()
				for suffix, what := range runSpec(p, test) {
					found[key+suffix] = what
				}
			}
		}
	}
	for _, key := range sortedKeys(found) {
		if _, ok := listed[key]; !ok {
			t.Errorf("%s: %s", key, found[key])
		}
		delete(listed, key)
	}
	for key := range listed {
		t.Errorf("testdata/differences.txt: %s is as the specification has it: remove the line", key)
	}
	t.Logf("%d tests, %d known differences", ran, len(found))
	if ran < 1000 {
		t.Errorf("only %d tests ran", ran)
	}
}

func sortedKeys(m map[string]string) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// readDifferences reads the list of known differences: "# reason" lines, then the tests
// that it holds for, one a line.
func readDifferences(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "differences.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	out := map[string]string{}
	reason := ""
	for sc := bufio.NewScanner(f); sc.Scan(); {
		line := strings.TrimSpace(sc.Text())
		switch {
		case line == "":
			reason = ""
		case line[0] == '#':
			reason += strings.TrimSpace(line[1:]) + " "
		case reason == "":
			t.Errorf("testdata/differences.txt: %s has no reason above it", line)
		default:
			if out[line] != "" {
				t.Errorf("testdata/differences.txt: %s is there twice", line)
			}
			out[line] = reason
		}
	}
	return out
}

// outsideSpec says that a test needs what we do not have at all: messages of protocol
// buffers, name spaces, functions of its own.
func outsideSpec(test *conformance.SimpleTest) bool {
	text := test.String()
	if test.GetContainer() != "" || test.GetDisableMacros() {
		return true
	}
	for _, d := range test.GetTypeEnv() {
		if d.GetFunction() != nil {
			return true
		}
	}
	for _, s := range []string{"google.protobuf", "TestAllTypes", "object_value", "enum_value", "message_type", "conformance.proto", "GlobalEnum", "wrapper:", "type.googleapis.com"} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// runSpec runs one test and tells what is different: under "" what is so for both
// evaluators, under " [fast]" or " [cel-go]" what is so for one.
func runSpec(p *Profile, test *conformance.SimpleTest) map[string]string {
	sc, vars := specScope(test)
	var l diag.List
	c := p.Expr(test.GetExpr(), penstock.Pos{}, sc, nil, &l)
	wantError := test.GetEvalError() != nil || test.GetAnyEvalErrors() != nil
	if c == nil {
		if wantError {
			return nil // the error comes earlier
		}
		return map[string]string{"": "is refused: " + l.Sorted()[0].Message}
	}
	if test.GetCheckOnly() {
		if want := test.GetTypedResult().GetDeducedType(); want != nil {
			if got, exp := specType(c.Type), specType(fromSpecType(want)); got != exp {
				return map[string]string{"": fmt.Sprintf("has type %s, want %s", got, exp)}
			}
		}
		return nil
	}
	f := frame(`{}`)
	f.Msg.Vars = vars
	out := map[string]string{}
	if c.Fast {
		if what := specResult(test, c.Program.Eval(f), wantError); what != "" {
			out[" [fast]"] = what
		}
	}
	if what := specResult(test, c.EvalOracle(f), wantError); what != "" {
		out[" [cel-go]"] = what
	}
	if len(out) == 2 || len(out) == 1 && !c.Fast {
		return map[string]string{"": out[" [fast]"] + "; cel-go: " + out[" [cel-go]"]}
	}
	return out
}

func specResult(test *conformance.SimpleTest, got penstock.Value, wantError bool) string {
	if wantError {
		if !got.IsError() {
			return fmt.Sprintf("gives %v, want an error", got)
		}
		return ""
	}
	want := penstock.True
	switch {
	case test.GetValue() != nil:
		want = specValue(test.GetValue())
	case test.GetTypedResult().GetResult() != nil:
		want = specValue(test.GetTypedResult().GetResult())
	}
	if !same(got, want) {
		return fmt.Sprintf("gives %v (kind %d), want %v (kind %d)", got, got.Kind(), want, want.Kind())
	}
	return ""
}

// specScope declares the variables of a test.
func specScope(test *conformance.SimpleTest) (*scope.Scope, []penstock.Value) {
	sc := &scope.Scope{}
	var vars []penstock.Value
	declared := map[string]bool{}
	add := func(name string, t *types.Type) {
		if declared[name] {
			return
		}
		declared[name] = true
		sc.Roots = append(sc.Roots, scope.Root{Name: name, Source: scope.Slot, Slot: len(vars), Type: t})
		v := penstock.Absent
		if b, ok := test.GetBindings()[name]; ok {
			v = specValue(b.GetValue())
		}
		vars = append(vars, v)
	}
	for _, d := range test.GetTypeEnv() {
		if d.GetIdent() != nil {
			add(d.GetName(), fromSpecType(d.GetIdent().GetType()))
		}
	}
	var names []string
	for name := range test.GetBindings() {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		add(name, nil)
	}
	return sc, vars
}

func specValue(v *celpb.Value) penstock.Value {
	switch k := v.GetKind().(type) {
	case *celpb.Value_NullValue:
		return penstock.Null
	case *celpb.Value_BoolValue:
		return penstock.BoolValue(k.BoolValue)
	case *celpb.Value_Int64Value:
		return penstock.IntValue(k.Int64Value)
	case *celpb.Value_Uint64Value:
		return penstock.UintValue(k.Uint64Value)
	case *celpb.Value_DoubleValue:
		return penstock.DoubleValue(k.DoubleValue)
	case *celpb.Value_StringValue:
		return penstock.StringValue(k.StringValue)
	case *celpb.Value_BytesValue:
		return penstock.BytesValue(k.BytesValue)
	case *celpb.Value_TypeValue:
		return penstock.TypeValue(k.TypeValue)
	case *celpb.Value_ListValue:
		l := &penstock.List{}
		for _, e := range k.ListValue.GetValues() {
			l.Elems = append(l.Elems, specValue(e))
		}
		return penstock.ListValue(l)
	case *celpb.Value_MapValue:
		m := &penstock.Map{}
		for _, e := range k.MapValue.GetEntries() {
			m.Entries = append(m.Entries, penstock.Entry{Key: specValue(e.GetKey()), Value: specValue(e.GetValue())})
		}
		return penstock.MapValue(m)
	}
	return penstock.ErrorValue(errors.New("not a value of ours: " + v.String()))
}

func fromSpecType(t *celpb.Type) *types.Type {
	switch k := t.GetTypeKind().(type) {
	case *celpb.Type_Null:
		return types.NullType
	case *celpb.Type_Primitive:
		return map[celpb.Type_PrimitiveType]*types.Type{celpb.Type_BOOL: types.BoolType, celpb.Type_INT64: types.IntType, celpb.Type_UINT64: types.UintType,
			celpb.Type_DOUBLE: types.DoubleType, celpb.Type_STRING: types.StringType, celpb.Type_BYTES: types.BytesType}[k.Primitive]
	case *celpb.Type_WellKnown:
		switch k.WellKnown {
		case celpb.Type_TIMESTAMP:
			return types.TimestampType
		case celpb.Type_DURATION:
			return types.DurationType
		}
	case *celpb.Type_ListType_:
		return types.ListOf(fromSpecType(k.ListType.GetElemType()))
	case *celpb.Type_MapType_:
		m := types.MapOf(fromSpecType(k.MapType.GetValueType()))
		m.Key = fromSpecType(k.MapType.GetKeyType())
		return m
	case *celpb.Type_AbstractType_:
		if k.AbstractType.GetName() == "optional_type" && len(k.AbstractType.GetParameterTypes()) == 1 {
			return types.OptionalOf(fromSpecType(k.AbstractType.GetParameterTypes()[0]))
		}
	}
	return types.DynType
}

// specType writes a type so that ours and the specification's compare: what we know better
// (the fields of a map, that nothing is in a list) counts as what it is there.
func specType(t *types.Type) string {
	switch {
	case t.IsDyn() || t.Kind == types.Never || t.Kind == types.Union:
		return "dyn"
	case t.Kind == types.Object:
		elem := ""
		for i, f := range t.Fields {
			if e := specType(f.Type); i == 0 {
				elem = e
			} else if e != elem {
				elem = "dyn"
			}
		}
		return "map(string, " + elem + ")"
	case t.Kind == types.Map:
		key := "string"
		if t.Key != nil {
			key = specType(t.Key)
		}
		return "map(" + key + ", " + specType(t.Elem) + ")"
	case t.Kind == types.List:
		return "list(" + specType(t.Elem) + ")"
	case t.Kind == types.Optional:
		return "optional(" + specType(t.Elem) + ")"
	case t.Kind == types.String:
		return "string"
	}
	return t.Kind.String()
}

// same compares values by kind and content, NaN being the same as NaN.
func same(a, b penstock.Value) bool {
	a, b = a.Load(nil), b.Load(nil)
	if a.Kind() == penstock.KindOptional {
		a = a.Optional()
	}
	if b.Kind() == penstock.KindOptional {
		b = b.Optional()
	}
	if a.Kind() == penstock.KindNode || b.Kind() == penstock.KindNode {
		return a.Equal(b)
	}
	if a.Kind() != b.Kind() {
		return false
	}
	switch a.Kind() {
	case penstock.KindDouble:
		return a.Double() == b.Double() || math.IsNaN(a.Double()) && math.IsNaN(b.Double())
	case penstock.KindList:
		x, y := a.List().Elems, b.List().Elems
		if len(x) != len(y) {
			return false
		}
		for i := range x {
			if !same(x[i], y[i]) {
				return false
			}
		}
		return true
	case penstock.KindMap:
		x, y := a.Map().Entries, b.Map().Entries
		if len(x) != len(y) {
			return false
		}
		for _, e := range x {
			found := false
			for _, g := range y {
				found = found || same(e.Key, g.Key) && same(e.Value, g.Value)
			}
			if !found {
				return false
			}
		}
		return true
	}
	return a.Equal(b)
}

// frame makes a frame for a message with a JSON body.
func frame(body string) *penstock.Frame {
	m := &penstock.Message{Body: new(jsonview.Doc), Key: "k"}
	m.Body.Reset(jsonview.JSON, []byte(body))
	return &penstock.Frame{Msg: m, Arena: new(penstock.Arena), Runtime: &penstock.Runtime{Clock: fixedClock{}, UUID: func() string { return "00000000-0000-4000-8000-000000000000" }}}
}

// fixedClock always tells the same time.
type fixedClock struct{ penstock.SystemClock }

// Now is the moment of the first line of the example's data.
func (fixedClock) Now() time.Time { return time.Date(2010, 12, 1, 8, 26, 0, 0, time.UTC) }

func newProfile(t testing.TB) *Profile {
	t.Helper()
	p, err := NewProfile(Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// lenientProfile lets expressions be that fail with every message: what they give is looked at.
func lenientProfile(t testing.TB) *Profile {
	p := newProfile(t)
	p.lenient = true
	return p
}
