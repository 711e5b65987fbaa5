package view

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// scanPage is how many rows a query looks at at a time, scanMost how many at most for one page of its result.
const (
	scanPage = 500
	scanMost = 100_000
)

// Get finds a row by its key; nil where there is none.
func (e *Engine) Get(ctx context.Context, view, key string) ([]byte, error) {
	return e.GetAsOf(ctx, view, key, nil)
}

// GetAsOf finds a row as it was; as nil is as it is. An error of code tooLarge says that too many events are about it, one of code unprocessable that those are no
// longer kept which it was made of, or that one of them can't be folded.
func (e *Engine) GetAsOf(ctx context.Context, view, key string, as *AsOf) ([]byte, error) {
	m, err := e.model(view)
	if err != nil {
		return nil, err
	}
	rows, err := e.rowsOn(ctx, m, as, key)
	if err != nil {
		return nil, err
	}
	texts, err := rows.Read(ctx, []string{key})
	if err != nil {
		return nil, err
	}
	return texts[0], nil
}

// Await waits until a view holds all that is in its source now.
func (e *Engine) Await(ctx context.Context, view string) error {
	m, err := e.model(view)
	if err != nil {
		return err
	}
	m.mu.RLock()
	f := m.active
	m.mu.RUnlock()
	if f == nil {
		return &penstock.Error{Code: penstock.Unavailable, Op: "view " + view, Err: errors.New("its rows are just built anew, since its definition has changed"), Hint: "those that are there are read without `wait`"}
	}
	return f.await(ctx, true)
}

// Page is what a query finds.
type Page struct {
	Rows []Row
	Next string // where the next page begins; "": there is none
}

// Find looks for rows. args are the query's, in the order in which it declares them; after is the Next of the page before. A page that
// had to look at too many rows for those that it found is shorter than the query's limit, and has a Next.
func (e *Engine) Find(ctx context.Context, view, query string, args []penstock.Value, after string) (Page, error) {
	return e.FindAsOf(ctx, view, query, args, after, nil)
}

// FindAsOf looks for rows as they were, as Find does; as nil is as they are. Errors are those of GetAsOf.
func (e *Engine) FindAsOf(ctx context.Context, view, query string, args []penstock.Value, after string, as *AsOf) (Page, error) {
	m, err := e.model(view)
	if err != nil {
		return Page{}, err
	}
	m.mu.RLock()
	q := m.view.Query(query)
	m.mu.RUnlock()
	if q == nil {
		return Page{}, &penstock.Error{Code: penstock.NotFound, Op: "view " + view, Path: query, Err: errors.New("it has no query of that name")}
	}
	last, err := readPlace(after)
	if err != nil {
		return Page{}, err
	}
	rows, err := e.rowsOn(ctx, m, as, "")
	if err != nil {
		return Page{}, err
	}
	out := Page{Rows: []Row{}}
	s := sieve{q: q, args: args}
	s.batch.Runtime = e.runtime.Load()
	for seen := 0; ; {
		page, err := rows.Scan(ctx, last, scanPage)
		if err != nil {
			return Page{}, err
		}
		for i, r := range page {
			last = r.Key
			ok, err := s.fits(r)
			if err != nil {
				return Page{}, fmt.Errorf("query %s of view %s, row %s: %w", query, view, strconv.Quote(r.Key), err)
			}
			if !ok {
				continue
			}
			if out.Rows = append(out.Rows, r); len(out.Rows) == q.Limit {
				if i < len(page)-1 || len(page) == scanPage {
					out.Next = place(last)
				}
				return out, nil
			}
		}
		switch seen += len(page); {
		case len(page) < scanPage:
			return out, nil
		case seen >= scanMost:
			out.Next = place(last)
			return out, nil
		}
	}
}

// place is where a page ends, as callers carry it.
func place(key string) string { return base64.RawURLEncoding.EncodeToString(append([]byte{1}, key...)) }

func readPlace(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) < 2 || b[0] != 1 {
		return "", &penstock.Error{Code: penstock.Invalid, Op: "query", Path: "after", Err: errors.New("no query gave this page"), Hint: "`after` takes `next` of the page before, as it is"}
	}
	return string(b[1:]), nil
}

// sieve evaluates the condition of a query.
type sieve struct {
	q     *plan.ViewQuery
	args  []penstock.Value
	batch penstock.Batch
	doc   jsonview.Doc
}

func (s *sieve) fits(r Row) (bool, error) {
	if s.q.Where == nil {
		return true, nil
	}
	s.batch.Reset()
	s.doc.Reset(jsonview.JSON, r.Text)
	if err := s.doc.Parse(jsonview.Limits{}); err != nil {
		return false, err
	}
	m := s.batch.NewMessage()
	m.Key = r.Key
	m.Vars = append(append(m.Vars[:0], penstock.NodeValue(&s.doc, 0), penstock.Absent), s.args...)
	v := s.q.Where.Eval(s.batch.Frame(m)).Load(s.batch.Arena())
	switch {
	case v.IsError():
		return false, v.Err()
	case v.Kind() != penstock.KindBool:
		return false, penstock.E(penstock.Unprocessable, "query", "where", "the condition gives no bool")
	}
	return v.Bool(), nil
}

// Caller answers what steps ask.
func (e *Engine) Caller(ask *plan.Ask) penstock.Caller { return &asker{e, ask} }

// asker is what a query step asks.
type asker struct {
	e   *Engine
	ask *plan.Ask
}

// Open implements penstock.Caller.
func (*asker) Open(context.Context) error { return nil }

// Close implements penstock.Caller.
func (*asker) Close(context.Context) error { return nil }

// Call implements penstock.Caller.
func (a *asker) Call(ctx context.Context, f *penstock.Frame, into *penstock.Message) error {
	if a.ask.Wait > 0 {
		if err := a.wait(ctx); err != nil {
			return err
		}
	}
	as, err := a.asOf(f)
	if err != nil {
		return err
	}
	if a.ask.Key != nil {
		return a.one(ctx, f, into, as)
	}
	args, err := a.args(f)
	if err != nil {
		return err
	}
	after := ""
	if a.ask.After != nil {
		if after, err = textOf(a.ask.After, f, "after"); err != nil {
			return err
		}
	}
	page, err := a.e.FindAsOf(ctx, a.ask.View, a.ask.Name, args, after, as)
	if err != nil {
		return err
	}
	text := append([]byte(nil), `{"rows":[`...)
	for i, r := range page.Rows {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, r.Text...)
	}
	text = append(text, ']')
	if page.Next != "" {
		text = append(append(append(text, `,"next":"`...), page.Next...), '"')
	}
	into.Body.Reset(jsonview.JSON, append(text, '}'))
	return nil
}

// wait waits for what is in the source now, as long as the step says.
func (a *asker) wait(ctx context.Context) error {
	own, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := fmt.Errorf("the view has not come to what was in its source within %s", a.ask.Wait)
	c, stop := a.e.clock.NewTimer(a.ask.Wait)
	defer stop()
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-c:
			cancel(late)
		case <-over:
		}
	}()
	err := a.e.Await(own, a.ask.View)
	if errors.Is(err, late) {
		return &penstock.Error{Code: penstock.Timeout, Op: "query view " + a.ask.View, Err: late, Hint: "`penstock ps` shows how far it is behind"}
	}
	return err
}

func (a *asker) one(ctx context.Context, f *penstock.Frame, into *penstock.Message, as *AsOf) error {
	key, err := textOf(a.ask.Key, f, "key")
	if err != nil {
		return err
	}
	var row []byte
	if key != "" {
		if row, err = a.e.GetAsOf(ctx, a.ask.View, key, as); err != nil {
			return err
		}
	}
	if row == nil {
		into.Meta.Set("absent", penstock.True)
		return nil
	}
	into.Body.Reset(jsonview.JSON, row)
	return nil
}

// textOf evaluates a key, or a place; "" where it is absent.
func textOf(p penstock.Program, f *penstock.Frame, what string) (string, error) {
	v := p.Eval(f).Load(f.Arena)
	if v.Kind() == penstock.KindOptional {
		v = v.Optional()
	}
	switch v.Kind() {
	case penstock.KindError:
		return "", v.Err()
	case penstock.KindAbsent, penstock.KindNull:
		return "", nil
	}
	text, err := v.AppendText(nil)
	if err != nil {
		return "", &penstock.Error{Code: penstock.Unprocessable, Op: "query", Path: what, Err: err}
	}
	return string(text), nil
}

// args evaluates the arguments, and reads each as the type that was declared.
func (a *asker) args(f *penstock.Frame) ([]penstock.Value, error) {
	m, err := a.e.model(a.ask.View)
	if err != nil {
		return nil, err
	}
	m.mu.RLock()
	q := m.view.Query(a.ask.Name)
	m.mu.RUnlock()
	if q == nil {
		return nil, &penstock.Error{Code: penstock.NotFound, Op: "view " + a.ask.View, Path: a.ask.Name, Err: errors.New("it has no query of that name")}
	}
	var doc jsonview.Doc
	text := noRow
	if a.ask.Args != nil {
		if text, err = a.ask.Args.Append(nil, f); err != nil {
			return nil, err
		}
	}
	doc.Reset(jsonview.JSON, text)
	if err := doc.Parse(jsonview.Limits{}); err != nil {
		return nil, err
	}
	return Args(q, &doc)
}

// Args reads the arguments of a query from an object. Each must be there, and of its type.
func Args(q *plan.ViewQuery, doc *jsonview.Doc) ([]penstock.Value, error) {
	out := make([]penstock.Value, len(q.Args))
	for i, arg := range q.Args {
		n := jsonview.None
		if doc.Kind(0) == jsonview.Object {
			n = doc.Field(0, arg.Name, nil)
		}
		if n == jsonview.None || doc.Kind(n) == jsonview.Null {
			return nil, penstock.E(penstock.Unprocessable, "query", "args."+arg.Name, "the argument is missing")
		}
		v, err := read(penstock.NodeValue(doc, n), arg.Type)
		if err != nil {
			return nil, &penstock.Error{Code: penstock.Unprocessable, Op: "query", Path: "args." + arg.Name, Err: err}
		}
		out[i] = v
	}
	return out, nil
}

// read reads an argument as its type.
func read(v penstock.Value, t *types.Type) (penstock.Value, error) {
	v = v.Load(new(penstock.Arena)).Clone()
	text := func() (string, bool) {
		if v.Kind() != penstock.KindString {
			return "", false
		}
		return v.Str(), true
	}
	wrong := fmt.Errorf("%s is no %s", v, t)
	switch t.Kind {
	case types.String:
		if v.Kind() == penstock.KindString {
			return v, nil
		}
	case types.Bool:
		if v.Kind() == penstock.KindBool {
			return v, nil
		}
	case types.Int:
		if v.Kind() == penstock.KindInt {
			return v, nil
		}
	case types.Double:
		switch v.Kind() {
		case penstock.KindDouble:
			return v, nil
		case penstock.KindInt:
			return penstock.DoubleValue(float64(v.Int())), nil
		}
	case types.Decimal:
		number := v.NumberText()
		if s, ok := text(); ok {
			number = s
		} else if number == "" {
			number = v.String()
		}
		if d, err := penstock.ParseDecimal(number); err == nil {
			return penstock.DecimalValue(d), nil
		}
	case types.Timestamp:
		if s, ok := text(); ok {
			if at, err := time.Parse(time.RFC3339Nano, s); err == nil {
				return penstock.TimestampValue(at), nil
			}
		}
	case types.Duration:
		if s, ok := text(); ok {
			if d, err := time.ParseDuration(s); err == nil {
				return penstock.DurationValue(d), nil
			}
		}
	default:
		return v, nil
	}
	return penstock.Absent, wrong
}
