// Package architecture holds the import rules of the project: which package may see
// which, with the reason beside each ban.
package architecture

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "penstock.dev/penstock"

// rule bans imports: no package that From matches may import, directly or through others
// of this module, one that Ban matches, but those that Except matches.
type rule struct {
	from   string
	ban    []string
	except []string
	deep   bool // also through other packages
	reason string
}

var rules = []rule{
	{from: module, ban: []string{"*.*/"}, except: []string{module + "/types", module + "/jsonview"}, deep: true,
		reason: "the dictionary is what strangers write drivers against: it brings nothing along"},
	{from: module + "/types", ban: []string{"*.*/"}, deep: true, reason: "the type model is part of the dictionary"},
	{from: module + "/jsonview", ban: []string{"*.*/"}, deep: true, reason: "reading JSON is part of the dictionary"},
	{from: module + "/wire", ban: []string{"*.*/"}, deep: true, reason: "a connection that gathers is of use to any client of any protocol: it is public, so that our connectors have nothing that a stranger's has not, and brings nothing along"},
	{from: module + "/worker", ban: []string{"*.*/"}, deep: true, reason: "whoever does jobs in a program of his own gets nothing with it but what Go has"},
	{from: module + "/connector/...", ban: []string{module + "/..."}, except: []string{module, module + "/types", module + "/jsonview", module + "/wire"},
		reason: "our connectors prove that a stranger can write one: nothing internal, never each other"},
	{from: module + "/codec/...", ban: []string{module + "/..."}, except: []string{module, module + "/types", module + "/jsonview"},
		reason: "codecs are leaves, as connectors are"},
	{from: module + "/secret/...", ban: []string{module + "/..."}, except: []string{module, module + "/secret/internal/files"},
		reason: "providers of secrets are leaves, as connectors are; those that read files share how"},
	{from: module + "/step/...", ban: []string{module + "/..."}, except: []string{module, module + "/types", module + "/jsonview"},
		reason: "leaf steps stand on the public seam"},
	{from: module + "/conform/...", ban: []string{module + "/internal/..."}, reason: "strangers run the suites, too"},
	{from: module + "/internal/plan", ban: []string{module + "/internal/..."}, deep: true, reason: "the plan is data: it knows neither who makes it nor who runs it"},
	{from: module + "/internal/run", ban: []string{module + "/internal/..."}, except: []string{module + "/internal/plan", module + "/internal/policy", module + "/internal/observe", module + "/internal/record", module + "/internal/journal",
		module + "/internal/stage", module + "/internal/store", module + "/internal/store/channel", module + "/internal/store/keyset", module + "/internal/mutation"}, deep: true,
		reason: "the engine runs plans, whatever they were made of"},
	{from: module + "/internal/run", ban: []string{module + "/connector/...", module + "/codec/...", "cel.dev/..."}, deep: true, reason: "the engine knows no driver and no language"},
	{from: module + "/internal/observe", ban: []string{module + "/internal/..."}, deep: true, reason: "what the engine says of itself is below everything that says it"},
	{from: module + "/internal/run", ban: []string{"go.opentelemetry.io/...", "github.com/prometheus/...", "google.golang.org/grpc/..."}, deep: true, reason: "the engine knows neither OpenTelemetry nor Prometheus: package observe stands between"},
	{from: module + "/internal/store/...", ban: []string{module + "/internal/run", module + "/internal/plan", module + "/internal/compile", module + "/internal/resource"}, deep: true, reason: "what is kept knows nothing of who keeps it"},
	{from: module + "/internal/expr/...", ban: []string{module + "/internal/resource", module + "/internal/compile/...", module + "/internal/run"}, deep: true, reason: "expressions are compiled for whoever asks"},
	{from: module + "/internal/algebra", ban: []string{module + "/internal/..."}, deep: true, reason: "how types combine is below everything that asks"},
	{from: module + "/internal/resource", ban: []string{module + "/internal/compile", module + "/internal/run", module + "/internal/expr"}, deep: true, reason: "reading files comes before understanding them"},
	{from: module + "/internal/compile/...", ban: []string{module + "/internal/run", module + "/internal/control", module + "/internal/cli"}, deep: true, reason: "config → compile → run: never backwards"},
	{from: module + "/internal/cli", ban: []string{module + "/internal/run", module + "/internal/compile", module + "/connector/...", module + "/codec/...", module + "/edition"}, reason: "faces call control, and see no driver"},
	{from: module + "/internal/...", ban: []string{module + "/edition", module + "/cmd/..."}, reason: "only cmd chooses what a binary contains"},
	{from: module + "/...", ban: []string{"k8s.io/..."}, except: []string{}, reason: "k8s.io stays in the operator, which is not here yet"},
}

// package of `go list -json`.
type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Standard   bool
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps,Standard", "./...")
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var pkgs []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// matches reports whether path fits the pattern: a path, a path and what is below it
// (/...), or *.*/ for everything outside of the standard library.
func matches(pattern, path string) bool {
	switch {
	case pattern == "*.*/":
		first, _, _ := strings.Cut(path, "/")
		return strings.Contains(first, ".")
	case strings.HasSuffix(pattern, "/..."):
		base := strings.TrimSuffix(pattern, "/...")
		return path == base || strings.HasPrefix(path, base+"/")
	}
	return path == pattern
}

func anyMatches(patterns []string, path string) bool {
	for _, p := range patterns {
		if matches(p, path) {
			return true
		}
	}
	return false
}

// own says that a package imports a part of itself: connector/file/internal.
func own(from, path string) bool { return path == from || strings.HasPrefix(path, from+"/") }

func TestImportRules(t *testing.T) {
	pkgs := list(t)
	for _, r := range rules {
		found := false
		for _, p := range pkgs {
			if !matches(r.from, p.ImportPath) {
				continue
			}
			found = true
			imports := p.Imports
			if r.deep {
				imports = p.Deps
			}
			for _, i := range imports {
				if anyMatches(r.ban, i) && !anyMatches(r.except, i) && !own(p.ImportPath, i) && !sameFamily(r.from, i) {
					t.Errorf("%s imports %s: %s", p.ImportPath, i, r.reason)
				}
			}
		}
		if !found {
			t.Errorf("the rule for %s fits no package: it holds nothing", r.from)
		}
	}
}

// sameFamily lets internal/expr/... and internal/compile/... import their own parts, where
// the ban is about others; the leaves' bans mean their siblings, too.
func sameFamily(from, path string) bool {
	return strings.HasPrefix(from, module+"/internal/") && strings.HasSuffix(from, "/...") && from != module+"/internal/..." && matches(from, path)
}

// TestNoVagueNames holds the promise that a name says what is inside.
func TestNoVagueNames(t *testing.T) {
	for _, p := range list(t) {
		for _, part := range strings.Split(p.ImportPath, "/") {
			switch part {
			case "util", "utils", "common", "helper", "helpers", "manager", "misc", "shared":
				t.Errorf("%s: %q says nothing about what is inside", p.ImportPath, part)
			}
		}
	}
}
