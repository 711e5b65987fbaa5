package flowtest

import (
	"context"
	"fmt"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/resource"
)

// test is one Test while it runs.
type test struct {
	suite    *suite
	spec     *resource.Test
	name     string
	failures []Failure
	edits    []edit
}

func (t *test) fail(pos penstock.Pos, format string, args ...any) {
	t.failures = append(t.failures, Failure{Pos: pos, Message: fmt.Sprintf(format, args...)})
}

func (t *test) run(ctx context.Context) {
	t.params()
}
