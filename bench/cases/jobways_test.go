package cases

import (
	"strings"
	"testing"
)

// A job that comes twice, or that nobody enqueued, is an error, whatever else comes; and all is done when each has come once.
func TestTollCountsEachJobOnce(t *testing.T) {
	for _, c := range []struct{ came, fault string }{
		{`{"id":"k0"} {"id":"k2"} {"id":"k1"}`, ""},
		{`{"id":"k0"} {"id":"k1"}`, "left"},
		{`{"id":"k0"} {"id":"k1"} {"id":"k0"}`, `"k0" came twice`},
		{`{"id":"k0"} {"id":"k1"} {"id":"k3"}`, `no job "k3"`},
		{`{"id":"k0"} {"id":"k1"} {"id":"k-1"}`, "no job"},
		{`{"id":"k0"} {"id":"k1"} nothing`, "is no job"},
	} {
		toll := newToll(3)
		for _, body := range strings.Fields(c.came) {
			toll.hear([]byte(body))
		}
		said := ""
		if err := toll.err.Get(); err != nil {
			said = err.Error()
		}
		select {
		case <-toll.all:
		default:
			said += "left"
		}
		if c.fault == "" && said != "" || !strings.Contains(said, c.fault) {
			t.Errorf("%s: %s", c.came, said)
		}
	}
}
