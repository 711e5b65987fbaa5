package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/internal/schema"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// ExpressionFile is the name that findings about the expression itself have as their file.
const ExpressionFile = "expression"

// EvalOptions say what is evaluated over what.
type EvalOptions struct {
	// Expression is CEL, or a text with ${…} parts.
	Expression string
	// Sample holds the bodies, one document after the other; nil: there is one, null.
	Sample io.Reader
	// SampleName is the file's name, for errors and to tell the format (.csv, .txt; else JSON).
	SampleName string
	// Format names a codec, where the name doesn't tell.
	Format string
	// Schema is the path of a JSON Schema of the bodies; "": nothing is known of them.
	Schema string
	// Params are values of params by name, each read as YAML reads a scalar; they win over ParamFiles.
	Params     map[string]string
	ParamFiles []string
	// Strict makes a doubtful read an error.
	Strict bool
}

// Evaluation is the result of [Service.Eval].
type Evaluation struct {
	Expression string       `json:"expression"`
	OK         bool         `json:"ok"`             // no finding is an error, and no result is one
	Type       string       `json:"type,omitempty"` // the static type; "" if the check failed
	Findings   []Finding    `json:"findings"`
	Results    []EvalResult `json:"results"` // one for each document, in order
}

// EvalResult is the value over one document, or why there is none.
type EvalResult struct {
	Line   int             `json:"line,omitempty"` // where the document begins in the sample, from 1
	Absent bool            `json:"absent,omitempty"`
	Value  json.RawMessage `json:"value,omitempty"`
	Error  *EvalError      `json:"error,omitempty"`
}

// EvalError is why an expression has no value over a document.
type EvalError struct {
	Code    penstock.Code `json:"code"`
	Message string        `json:"message"`
	Path    string        `json:"path,omitempty"`
}

// Eval checks an expression, and evaluates it over each document of a sample. What is wrong with
// the expression is in the findings; an error is about what surrounds it (a sample that can't be read).
func (s *Service) Eval(o EvalOptions) (*Evaluation, error) {
	l := &diag.List{}
	body, err := s.schemaType(o.Schema, l)
	if err != nil {
		return nil, err
	}
	fields, values, err := s.evalParams(o, l)
	if err != nil {
		return nil, err
	}
	ev := &Evaluation{Expression: o.Expression, Results: []EvalResult{}}
	var prog *expr.Compiled
	if !l.HasErrors() {
		profile, err := expr.NewProfile(expr.Options{Strict: o.Strict})
		if err != nil {
			return nil, &penstock.Error{Code: penstock.Internal, Op: "eval", Err: err}
		}
		sc := &scope.Scope{Roots: []scope.Root{
			{Name: "body", Source: scope.Body, Type: body},
			{Name: "meta", Source: scope.Meta},
			{Name: "key", Source: scope.Key, Type: types.StringType},
			{Name: "vars", Source: scope.Vars},
			{Name: "params", Source: scope.Params, Fields: fields},
			{Name: "now", Source: scope.Now, Type: types.TimestampType},
		}}
		pos := penstock.Pos{File: ExpressionFile, Line: 1, Col: 1}
		if strings.Contains(o.Expression, "${") {
			prog = profile.Template(o.Expression, pos, sc, expr.Plain, l)
		} else {
			prog = profile.Expr(o.Expression, pos, sc, nil, l)
		}
	}
	ev.Findings = l.Sorted()
	if ev.Findings == nil {
		ev.Findings = []Finding{}
	}
	if prog == nil || l.HasErrors() {
		return ev, nil
	}
	ev.Type = prog.Type.String()
	rt := &penstock.Runtime{Params: values, Clock: s.clock(), UUID: newUUID}
	ev.OK = true
	err = s.samples(o, body, rt, func(line int, f *penstock.Frame) {
		r := evaluate(prog.Program, f)
		r.Line = line
		ev.OK = ev.OK && r.Error == nil
		ev.Results = append(ev.Results, r)
	})
	return ev, err
}

// schemaType reads a JSON Schema, also one that is written as YAML; dyn if there is none.
func (s *Service) schemaType(path string, l *diag.List) (*types.Type, error) {
	if path == "" {
		return types.DynType, nil
	}
	text, err := s.readFile(path)
	if err != nil {
		return nil, &penstock.Error{Code: penstock.NotFound, Op: "read the schema", Path: path, Err: cause(err), Hint: "the path is relative to the current folder"}
	}
	if ext := filepath.Ext(path); ext == ".yaml" || ext == ".yml" {
		docs := resource.ParseYAML(path, text, l)
		if len(docs) != 1 {
			l.Errorf(penstock.Pos{File: path, Line: 1, Col: 1}, "bad-schema", "", "a schema is one document", "there are %d documents", len(docs))
			return types.DynType, nil
		}
		text = docs[0].JSON()
	}
	name, _, _ := strings.Cut(filepath.Base(path), ".")
	sc, err := schema.Parse(name, text)
	if err != nil {
		l.Errorf(penstock.Pos{File: path}, "bad-schema", "", "", "%v", err)
		return types.DynType, nil
	}
	for _, n := range sc.Notes {
		l.Warnf(penstock.Pos{File: path}, "schema-note", n.Pointer, n.Hint, "%s: %s", n.Pointer, n.Message)
	}
	return sc.Type, nil
}

func evaluate(p penstock.Program, f *penstock.Frame) EvalResult {
	v := p.Eval(f)
	if v.Kind() == penstock.KindOptional {
		v = v.Optional()
	}
	switch {
	case v.IsError():
		return EvalResult{Error: evalError(v.Err())}
	case v.IsAbsent():
		return EvalResult{Absent: true}
	}
	text, err := v.AppendJSON(nil)
	if err != nil {
		return EvalResult{Error: evalError(err)}
	}
	return EvalResult{Value: text}
}

func evalError(err error) *EvalError {
	out := &EvalError{Code: penstock.CodeOf(err), Message: err.Error()}
	var e *penstock.Error
	if errors.As(err, &e) && e.Err != nil {
		out.Path, out.Message = e.Path, e.Err.Error()
	}
	return out
}

// samples calls visit with a frame for each document of the sample.
func (s *Service) samples(o EvalOptions, body *types.Type, rt *penstock.Runtime, visit func(line int, f *penstock.Frame)) error {
	b := &penstock.Batch{Runtime: rt}
	if o.Sample == nil {
		visit(0, b.Frame(b.Append()))
		return nil
	}
	codec, err := s.codec(o, body)
	if err != nil {
		return err
	}
	in := o.Sample
	if t, ok := codec.(penstock.Transcoder); ok {
		head := make([]byte, 4)
		n, _ := io.ReadFull(in, head) // a shorter sample is fine; a broken one fails below
		in = io.MultiReader(bytes.NewReader(head[:n]), in)
		if wrap := t.Transcode(head[:n]); wrap != nil {
			in = wrap(in)
		}
	}
	data, err := io.ReadAll(in)
	if err != nil {
		return &penstock.Error{Code: penstock.Unavailable, Op: "read the sample", Path: o.SampleName, Err: cause(err)}
	}
	framer := codec.NewFramer(o.SampleName)
	for at := 0; at < len(data); {
		n, record, err := framer.Frame(data[at:], true)
		line := 1 + bytes.Count(data[:at], []byte("\n"))
		switch {
		case err != nil:
			return &penstock.Error{Code: penstock.Invalid, Op: "read the sample", Path: fmt.Sprintf("%s:%d", o.SampleName, line), Err: err,
				Hint: "a sample is one JSON document after the other, or CSV with --format csv"}
		case record != nil:
			b.Reset()
			m := b.Append()
			framer.Bind(m.Body, record)
			line += bytes.Count(data[at:at+bytes.Index(data[at:], record)], []byte("\n"))
			visit(line, b.Frame(m))
		}
		if n == 0 {
			break
		}
		at += n
	}
	return nil
}

// codec is the codec of the sample, with its own defaults.
func (s *Service) codec(o EvalOptions, body *types.Type) (penstock.Codec, error) {
	name := o.Format
	if name == "" {
		switch strings.ToLower(filepath.Ext(o.SampleName)) {
		case ".csv":
			name = "csv"
		case ".txt", ".log":
			name = "text"
		default:
			name = "json"
		}
	}
	l := &diag.List{}
	dec := &resource.Decoder{Diags: l, Registry: s.Registry}
	drv, config := dec.DecodeConfig(s.Registry, penstock.KindOfCodec, name, penstock.Pos{}, &resource.Node{Kind: resource.NodeMap})
	if drv == nil || l.HasErrors() {
		var names []string
		for _, d := range s.Registry.Drivers(penstock.KindOfCodec) {
			names = append(names, d.Spec.Name)
		}
		return nil, &penstock.Error{Code: penstock.Config, Op: "eval", Err: fmt.Errorf("there is no format called %s", name), Hint: didYouMean(name, names)}
	}
	co := penstock.CodecOptions{}
	if !body.IsDyn() {
		co.Type = body
	}
	codec, err := drv.BuildCodec(config, co)
	if err != nil {
		return nil, &penstock.Error{Code: penstock.Config, Op: "eval", Path: o.SampleName, Err: err}
	}
	return codec, nil
}

// evalParams reads the values of params.
func (s *Service) evalParams(o EvalOptions, l *diag.List) (fields []scope.Field, values []penstock.Value, err error) {
	given := map[string]*resource.Node{}
	for _, file := range o.ParamFiles {
		text, err := s.readFile(file)
		if err != nil {
			return nil, nil, &penstock.Error{Code: penstock.NotFound, Op: "read the parameters", Path: file, Err: cause(err)}
		}
		for _, n := range resource.ParseYAML(file, text, l) {
			if n.Kind != resource.NodeMap {
				l.Errorf(n.Pos, "wrong-type", "", "write `name: value`, a line for each", "a file of parameters is one map")
			}
			for _, e := range n.Entries {
				given[e.Key] = e.Value
			}
		}
	}
	for name, text := range o.Params {
		given[name] = scalar(name, text)
	}
	var names []string
	for name := range given {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		v, t := paramOf(given[name])
		fields = append(fields, scope.Field{Name: name, Slot: i, Type: t})
		values = append(values, v)
	}
	return fields, values, nil
}

// scalar reads text as YAML does; what is no plain scalar is text.
func scalar(name, text string) *resource.Node {
	l := &diag.List{}
	docs := resource.ParseYAML("--param "+name, []byte("v: "+text), l)
	if len(docs) == 1 && !l.HasErrors() {
		if n := docs[0].Get("v"); n != nil && (n.Kind == resource.NodeBool || n.Kind == resource.NodeInt || n.Kind == resource.NodeFloat) {
			return n
		}
	}
	return &resource.Node{Kind: resource.NodeText, Text: text}
}

// paramOf is the value of a parameter, and its type.
func paramOf(n *resource.Node) (penstock.Value, *types.Type) {
	if n.Kind == resource.NodeText {
		return penstock.StringValue(n.Text), types.StringType
	}
	b := &penstock.Batch{}
	doc := b.NewDoc()
	doc.Reset(jsonview.JSON, n.AppendJSON(nil))
	if err := doc.Parse(jsonview.Limits{}); err != nil {
		return penstock.StringValue(n.Text), types.StringType
	}
	v := penstock.NodeValue(doc, 0).Load(b.Arena())
	switch v.Kind() {
	case penstock.KindBool:
		return v, types.BoolType
	case penstock.KindInt:
		return v, types.IntType
	case penstock.KindDouble:
		return v, types.DoubleType
	case penstock.KindDecimal:
		return v, types.DecimalType
	}
	return penstock.NodeValue(doc, 0), types.DynType
}
