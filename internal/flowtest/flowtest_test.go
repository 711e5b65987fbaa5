package flowtest_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"penstock.dev/penstock"
	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/flowtest"
)

var update = flag.Bool("update", false, "write what came out into the archives")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// remote is a caller that lives in a connection, as http will.
type remote struct {
	// The system.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// What is asked.
	Get penstock.Template `json:"get" penstock:"place=path"`
}

type remoteConnection struct {
	// Where it is.
	URL string `json:"url"`
}

// web is a server, which no test may ever build.
type web struct {
	// Where it is reached, by method.
	Get  string `json:"get" penstock:"literal"`
	Post string `json:"post" penstock:"literal"`
}

// Routes implements penstock.Routed.
func (w *web) Routes() (out []penstock.HTTPRoute) {
	if w.Post != "" {
		out = append(out, penstock.HTTPRoute{Method: "POST", Path: w.Post})
	}
	if w.Get != "" {
		out = append(out, penstock.HTTPRoute{Method: "GET", Path: w.Get})
	}
	return out
}

// registry is the standard edition with the remote caller and a server, which no test may ever build.
func registry() *penstock.Registry {
	r := edition.Standard()
	penstock.RegisterConnection[remoteConnection](r, penstock.Spec{Name: "remote"})
	penstock.RegisterCaller(r, penstock.Spec{Name: "remote", Idempotent: true}, func(remote, penstock.Env) (penstock.Caller, error) {
		return nil, errors.New("the outside world was asked")
	})
	penstock.RegisterServer(r, penstock.Spec{Name: "web"}, func(web, penstock.Env) (penstock.Server, error) {
		return nil, errors.New("the outside world was let in")
	})
	return r
}

// archive is a folder in a file: a comment, then files, each headed by -- name --.
func archive(t *testing.T, name string) (files map[string]string, order []string) {
	t.Helper()
	src, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	file := ""
	for line := range strings.Lines(string(src)) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "-- "); ok && strings.HasSuffix(n, " --") {
			file = strings.TrimSuffix(n, " --")
			files[file] = ""
			order = append(order, file)
		} else if file != "" {
			files[file] += line
		}
	}
	return files, order
}

// folder writes the files below a new folder; what begins with want stays out, and PLACE
// is the folder.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		if strings.HasPrefix(name, "want") {
			continue
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(data, "PLACE", dir)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// report runs the tests of a folder and gives the report with the folder's name left out.
func report(t *testing.T, dir string, o flowtest.Options) (*flowtest.Report, string) {
	t.Helper()
	o.Paths, o.Registry = []string{dir}, registry()
	var b strings.Builder
	r, err := flowtest.Run(context.Background(), o)
	var invalid *flowtest.Invalid
	switch {
	case errors.As(err, &invalid):
		for _, d := range invalid.Findings.Sorted() {
			b.WriteString(d.String() + "\n")
		}
	case err != nil:
		b.WriteString(err.Error() + "\n")
	default:
		if err := r.WriteText(&b); err != nil {
			t.Fatal(err)
		}
	}
	return r, strings.ReplaceAll(b.String(), dir+"/", "")
}

// TestArchives runs the tests in each archive and compares the report, several times over: it must
// always be the same.
func TestArchives(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatal("no archives", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			files, order := archive(t, name)
			dir := folder(t, files)
			if *update {
				_, got := report(t, dir, flowtest.Options{})
				var b strings.Builder
				for _, n := range slices.DeleteFunc(order, func(n string) bool { return n == "want" }) {
					b.WriteString("-- " + n + " --\n" + files[n])
				}
				if err := os.WriteFile(name, []byte(b.String()+"-- want --\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			for range 5 {
				if _, got := report(t, dir, flowtest.Options{Parallel: 4}); got != files["want"] {
					t.Fatalf("got\n%s\nwant\n%s", got, files["want"])
				}
			}
		})
	}
}

func TestFilter(t *testing.T) {
	files, _ := archive(t, "testdata/passing.txtar")
	r, _ := report(t, folder(t, files), flowtest.Options{Filter: regexp.MustCompile("^csv")})
	if len(r.Cases) != 1 || r.Cases[0].Name != "csv-is-read" {
		t.Errorf("%+v", r.Cases)
	}
}
