package step

import "penstock.dev/penstock"

// pathEdits is a change of the same kind at many paths, of the body and elsewhere: what remove
// and mask have in common.
type pathEdits struct {
	verb    string
	passes  []editPass
	changes []change // one for each path of a pass
	other   []Target // of variables, headers and the key

	scratches scratches
}

// compile takes the paths; [Each] is allowed in those of the body. refuse says why a root other than
// the body can't be meant; "" if it can. Errors speak of the configuration.
func (e *pathEdits) compile(verb string, c change, paths []Target, refuse func(Root) string) error {
	e.verb = verb
	var body [][]PathStep
	for _, t := range paths {
		if err := checkPath(verb, t, t.Root == Body); err != nil {
			return err
		}
		if t.Root == Body {
			body = append(body, t.Steps)
			e.changes = append(e.changes, c)
			continue
		}
		if why := refuse(t.Root); why != "" {
			return configError(verb, t, why)
		}
		e.other = append(e.other, t)
	}
	e.passes = compilePasses(body)
	return nil
}

// process changes each message; with other for what is not in the body. A message that fails is left
// as it came.
func (e *pathEdits) process(b *penstock.Batch, other func(*scratch, *penstock.Batch, *penstock.Message, *Target) error) {
	sc := e.scratches.get()
	defer e.scratches.put(sc)
	for i, m := range b.Msgs {
		before := m.Body
		sc.undo = sc.undo[:0]
		if err := e.one(sc, b, m, other); err != nil {
			sc.restore(m, before)
			b.Fail(i, failed(e.verb, err))
		}
	}
}

func (e *pathEdits) one(sc *scratch, b *penstock.Batch, m *penstock.Message, other func(*scratch, *penstock.Batch, *penstock.Message, *Target) error) error {
	for i := range e.passes {
		if err := sc.edit(b, m, &e.passes[i].root, e.changes); err != nil {
			return err
		}
	}
	for i := range e.other {
		if err := other(sc, b, m, &e.other[i]); err != nil {
			return err
		}
	}
	return nil
}
