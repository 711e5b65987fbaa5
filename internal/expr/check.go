package expr

import (
	"fmt"
	"regexp"
	"strings"

	"cel.dev/cel-go/checker"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/decls"

	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/types"
)

// rootType is the type of a root as expressions see it.
func rootType(r *scope.Root) *types.Type {
	switch r.Source {
	case scope.Key:
		return types.StringType
	case scope.Now:
		return types.TimestampType
	case scope.Vars, scope.Params, scope.Meta:
		o := &types.Type{Kind: types.Object, Open: r.Source == scope.Meta}
		for _, f := range r.Fields {
			t := f.Type
			if t == nil {
				t = types.DynType
			}
			o.Fields = append(o.Fields, types.Field{Name: f.Name, Type: t, Required: !f.Maybe})
		}
		return o
	}
	if r.Type == nil {
		return types.DynType
	}
	return r.Type
}

// checkEnv is a scope laid over the profile's functions.
type checkEnv struct {
	env   *checker.Env
	roots map[string]*types.Type
}

// scoped makes the environment of a scope, once for each.
func (p *Profile) scoped(sc *scope.Scope) (*checkEnv, error) {
	p.mu.Lock()
	have := p.scopes[sc]
	p.mu.Unlock()
	if have != nil {
		return have, nil
	}
	env, err := checker.NewEnv(p.engine.container, p.catalog, checker.CrossTypeNumericComparisons(true), checker.ValidatedDeclarations(p.engine.checks))
	if err != nil {
		return nil, err
	}
	ce := &checkEnv{env: env, roots: map[string]*types.Type{}}
	for i := range sc.Roots {
		r := &sc.Roots[i]
		t := rootType(r)
		ce.roots[r.Name] = t
		if err := env.AddIdents(decls.NewVariable(r.Name, p.catalog.celType(t))); err != nil {
			return nil, err
		}
	}
	p.mu.Lock()
	p.scopes[sc] = ce
	p.mu.Unlock()
	return ce, nil
}

// parse reads the text; nil after an error.
func (p *Profile) parse(r *reporter) (*ast.AST, common.Source) {
	text := common.NewTextSource(r.src.text)
	if strings.TrimSpace(r.src.text) == "" {
		r.add(diag.Error, 0, "expression-syntax", "", "write a CEL expression", "the expression is empty")
		return nil, nil
	}
	if len(r.src.text) > p.opts.MaxSource {
		r.add(diag.Error, 0, "expression-limit", "…", "", fmt.Sprintf("the expression has %d bytes, over the limit of %d", len(r.src.text), p.opts.MaxSource))
		return nil, nil
	}
	a, errs := p.engine.parser.Parse(text)
	if len(errs.GetErrors()) > 0 || a == nil {
		for _, e := range errs.GetErrors() {
			r.syntax(text, e)
		}
		r.failed = true
		return nil, nil
	}
	if ast.ExceedsDepth(a, p.opts.MaxDepth) {
		r.add(diag.Error, 0, "expression-limit", "…", "split it, or bind parts with cel.bind", fmt.Sprintf("the expression nests deeper than %d levels", p.opts.MaxDepth))
		return nil, nil
	}
	return a, text
}

// interpolation is a ${…} where CEL stands bare.
var interpolation = regexp.MustCompile(`\$\{([^}]*)\}`)

// syntax reports an error of the parser.
func (r *reporter) syntax(text common.Source, e *common.Error) {
	char := 0
	if off, ok := text.LocationOffset(e.Location); ok {
		char = int(off)
	}
	msg, hint := e.Message, ""
	if m := interpolation.FindStringSubmatch(r.src.text); m != nil {
		r.add(diag.Error, r.src.word(0, "${"), "template-in-expression", m[0], "write `"+interpolation.ReplaceAllString(r.src.text, "$1")+"`",
			"this field is a CEL expression, it takes no ${…}")
		return
	}
	msg = strings.TrimPrefix(msg, "Syntax error: ")
	if i := strings.Index(msg, " expecting {"); i >= 0 {
		msg = msg[:i]
	}
	switch r.src.token(char) {
	case "=":
		hint = "to compare write `==`"
	case "&":
		hint = "write `&&`"
	case "|":
		hint = "write `||`"
	}
	r.add(diag.Error, char, "expression-syntax", "", hint, msg)
}

// check runs cel-go's checker over the rewritten tree until nothing is left to fix.
func (p *Profile) check(a *ast.AST, text common.Source, ce *checkEnv) (*ast.AST, *common.Errors) {
	f := newFixer(p.catalog)
	for range 8 {
		checked, errs := checker.Check(a, text, ce.env)
		if !f.fix(checked) {
			return checked, errs
		}
		a = ast.NewAST(checked.Expr(), checked.SourceInfo())
	}
	return checker.Check(a, text, ce.env)
}

// functionNames lists what may be called, for suggestions.
func (p *Profile) functionNames() []string {
	var out []string
	for name := range p.engine.env.Functions() {
		if name[0] != '@' && name[0] != '_' && name[0] != '!' && name[0] != '-' && !strings.Contains(name, "@") {
			out = append(out, name)
		}
	}
	for _, f := range reference { // the macros, which are no functions to cel-go
		if name := f.Name; !strings.Contains(name, "@") {
			out = append(out, name)
		}
	}
	return out
}

var (
	undeclared = regexp.MustCompile(`^undeclared reference to '([^']*)'`)
	noMatch    = regexp.MustCompile(`^found no matching overload for '([^']*)' applied to`)
	objectName = regexp.MustCompile(`@[0-9]+`)
)

// namespaces are the names before the point of cel-go's functions.
var namespaces = map[string]bool{"math": true, "lists": true, "sets": true, "base64": true, "json": true, "yaml": true, "regex": true, "strings": true, "optional": true, "cel": true}

// checkErrors words what cel-go's checker found.
func (p *Profile) checkErrors(r *reporter, a *ast.AST, text common.Source, errs *common.Errors, ce *checkEnv) {
	nodes := map[int64]ast.Expr{}
	spaced := map[int64]string{} // calls of a function in a name space that is not there, by their target
	ast.PreOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		nodes[e.ID()] = e
		if e.Kind() == ast.CallKind && e.AsCall().IsMemberFunction() && e.AsCall().Target().Kind() == ast.IdentKind {
			if ns := e.AsCall().Target().AsIdent(); namespaces[ns] {
				spaced[e.AsCall().Target().ID()] = ns + "." + e.AsCall().FunctionName()
				spaced[e.ID()] = ""
			}
		}
	}))
	for _, e := range errs.GetErrors() {
		if name, ok := spaced[e.ExprID]; ok {
			if name != "" {
				short := name[strings.IndexByte(name, '.')+1:]
				r.add(diag.Error, r.src.word(span(a, e.ExprID), short), "unknown-function", short, didYouMean(name, p.functionNames()), fmt.Sprintf("there is no function `%s`", name))
			}
			continue
		}
		char := span(a, e.ExprID)
		if _, known := a.SourceInfo().GetOffsetRange(e.ExprID); !known {
			if off, ok := text.LocationOffset(e.Location); ok {
				char = int(off)
			}
		}
		if m := undeclared.FindStringSubmatch(e.Message); m != nil {
			p.undeclared(r, nodes[e.ExprID], char, m[1], ce)
			continue
		}
		if m := noMatch.FindStringSubmatch(e.Message); m != nil {
			p.noOverload(r, a, nodes[e.ExprID], char, m[1])
			continue
		}
		msg := objectName.ReplaceAllStringFunc(e.Message, func(n string) string {
			if t, ok := p.catalog.object(n); ok {
				return t.Text(0)
			}
			return n
		})
		for _, wrapper := range []string{"Bool", "Int", "UInt", "Double", "String", "Bytes"} {
			msg = strings.ReplaceAll(msg, "wrapper("+strings.ToLower(wrapper)+")", strings.ToLower(wrapper)+" or null")
		}
		text := ""
		if n := nodes[e.ExprID]; n != nil && n.Kind() == ast.SelectKind {
			text = n.AsSelect().FieldName()
			char = r.src.word(char, text)
		}
		r.add(diag.Error, char, "type-mismatch", text, "", msg)
	}
	r.failed = r.failed || len(errs.GetErrors()) > 0
}

// undeclared reports a name that is no root, variable or function.
func (p *Profile) undeclared(r *reporter, e ast.Expr, char int, name string, ce *checkEnv) {
	if e != nil && e.Kind() == ast.CallKind {
		short := name
		if i := strings.LastIndexByte(name, '.'); i >= 0 && e.AsCall().IsMemberFunction() {
			short = name[i+1:]
		}
		r.add(diag.Error, r.src.called(char, short), "unknown-function", short, didYouMean(name, p.functionNames()),
			fmt.Sprintf("there is no function `%s`", name))
		return
	}
	var roots []string
	for n := range ce.roots {
		roots = append(roots, n)
	}
	hint := didYouMean(name, roots)
	if hint == "" {
		for root, t := range ce.roots {
			if f := nearest(name, fieldNames(t)); f == name {
				hint = "did you mean `" + root + "." + f + "`?"
			}
		}
	}
	if hint == "" {
		hint = "here are: " + strings.Join(sortedNames(roots), ", ")
	}
	r.add(diag.Error, char, "unknown-name", name, hint, fmt.Sprintf("there is no `%s` here", name))
}
