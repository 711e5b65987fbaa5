// Package health answers the probes of whoever looks after a process, in Kubernetes's manner: /livez says whether it is worth
// keeping, /readyz whether it is to be given work. 200 is yes and 503 no; with ?verbose, and where the answer is no, each check says how
// it stands; ?exclude=name leaves one out; /readyz/name asks for one alone.
package health

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Check is one thing that is looked at.
type Check struct {
	Name string // lower-case, of letters and -
	// Probe returns why it is not well; nil is well. It must come back when ctx ends, and may be called from any goroutine.
	Probe func(ctx context.Context) error
	// Aside says that what is not well there is shown, and leaves the whole well: the process is to be given work none the less. Asked for alone, the check fails.
	Aside bool
}

// Patience is how long all checks of one probe may take together.
const Patience = 2 * time.Second

// Handler answers /livez or /readyz, and what is below it: path is where it is mounted.
func Handler(path string, checks []Check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "a probe is a GET", http.StatusMethodNotAllowed)
			return
		}
		asked, alone := checks, false
		if one := strings.Trim(strings.TrimPrefix(r.URL.Path, path), "/"); one != "" {
			i := slices.IndexFunc(checks, func(c Check) bool { return c.Name == one })
			if i < 0 {
				http.NotFound(w, r)
				return
			}
			asked, alone = checks[i:i+1], true
		}
		excluded := r.URL.Query()["exclude"]
		ctx, cancel := context.WithTimeout(r.Context(), Patience)
		defer cancel()
		var b strings.Builder
		bad := 0
		for _, c := range asked {
			if slices.Contains(excluded, c.Name) {
				fmt.Fprintf(&b, "[+]%s excluded: ok\n", c.Name)
				continue
			}
			err := c.Probe(ctx)
			if err != nil && c.Aside && !alone {
				fmt.Fprintf(&b, "[~]%s degraded: %s\n", c.Name, oneLine(err.Error()))
				continue
			}
			if err != nil {
				bad++
				fmt.Fprintf(&b, "[-]%s failed: %s\n", c.Name, oneLine(err.Error()))
				continue
			}
			fmt.Fprintf(&b, "[+]%s ok\n", c.Name)
		}
		name := strings.Trim(path, "/")
		h := w.Header()
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-cache, private")
		_, verbose := r.URL.Query()["verbose"]
		switch {
		case bad > 0:
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = fmt.Fprintf(w, "%s%s check failed\n", b.String(), name) // who asked may be gone
		case verbose:
			_, _ = fmt.Fprintf(w, "%s%s check passed\n", b.String(), name)
		default:
			_, _ = fmt.Fprint(w, "ok")
		}
	})
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }
