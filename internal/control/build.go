package control

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"penstock.dev/penstock"
)

// BuildOptions say what [Service.Build] makes.
type BuildOptions struct {
	// With are the modules whose drivers the program has beside those of the standard edition: module, module@version or module=path. The
	// module's package, or module/package, has a function Register(*penstock.Registry).
	With []string
	// Output is the file that is written; empty: penstock in the current folder.
	Output string
	// Version is the release of Penstock that is built; empty: that of this program.
	Version string
	// Source is a folder with the source of Penstock, which is built in place of a release.
	Source string
	// Replace are further modules that come from a folder, as in go.mod: module=path.
	Replace []string
	// Log takes what the Go tool says, beside a line for each step.
	Log io.Writer
}

// Built is what [Service.Build] made.
type Built struct {
	File    string   `json:"file"`
	Modules []string `json:"modules"` // as they were asked for
	Size    int64    `json:"size"`    // bytes
}

// extra is one module of --with.
type extra struct {
	asked, module, version, path string
}

// Build makes a program of the standard edition and the drivers of other modules, with the Go tool, in a temporary module. The file is
// replaced at once, when all went well.
func (s *Service) Build(ctx context.Context, o BuildOptions) (*Built, error) {
	if o.Output == "" {
		o.Output = "penstock"
	}
	out, err := filepath.Abs(o.Output)
	if err != nil {
		return nil, refused("build", o.Output, err, "")
	}
	extras, err := parseExtras(o.With)
	if err != nil {
		return nil, err
	}
	if o.Source == "" && o.Version == "" {
		return nil, &penstock.Error{Code: penstock.Invalid, Op: "build", Err: errors.New("this program is no release, so there is no version to build"),
			Hint: "name the source of Penstock with --source DIR, or a release with --version vX.Y.Z"}
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		return nil, &penstock.Error{Code: penstock.Unavailable, Op: "build", Err: errors.New("there is no Go tool in PATH"), Hint: "install Go from https://go.dev/dl, 1.26 or later"}
	}
	dir, err := os.MkdirTemp("", "penstock-build-")
	if err != nil {
		return nil, refused("build", "", err, "")
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	b := &builder{ctx: ctx, tool: goTool, dir: dir, log: o.Log}
	if err := b.prepare(o, extras); err != nil {
		return nil, err
	}
	b.say("building; the first time takes a few minutes")
	program := filepath.Join(dir, "program")
	if err := b.run("build", "-o", program, "."); err != nil {
		return nil, err
	}
	if err := install(program, out); err != nil {
		return nil, refused("build", out, cause(err), "choose a file that can be written to with -o")
	}
	info, err := os.Stat(out)
	if err != nil {
		return nil, refused("build", out, err, "")
	}
	built := &Built{File: o.Output, Size: info.Size()}
	for _, e := range extras {
		built.Modules = append(built.Modules, e.asked)
	}
	return built, nil
}

// parseExtras reads module[@version | =path], all errors at once.
func parseExtras(with []string) ([]extra, error) {
	var out []extra
	var errs []error
	for _, w := range with {
		e := extra{asked: w, module: w}
		if m, p, ok := strings.Cut(w, "="); ok {
			e.module, e.path = m, p
			abs, err := filepath.Abs(p)
			if err == nil {
				_, err = os.Stat(filepath.Join(abs, "go.mod"))
			}
			if err != nil || p == "" {
				errs = append(errs, &penstock.Error{Code: penstock.Invalid, Op: "build", Path: w, Err: errors.New("there is no Go module at this path"), Hint: "name the folder that has its go.mod"})
			}
			e.path = abs
		} else if m, v, ok := strings.Cut(w, "@"); ok {
			e.module, e.version = m, v
			if v == "" {
				errs = append(errs, &penstock.Error{Code: penstock.Invalid, Op: "build", Path: w, Err: errors.New("there is no version behind @"), Hint: "write v1.2.3, or leave @ out for the newest"})
			}
		}
		if !modulePath.MatchString(e.module) {
			errs = append(errs, &penstock.Error{Code: penstock.Invalid, Op: "build", Path: w, Err: errors.New("this is no path of a Go module"), Hint: "write module, module@version or module=path, as in github.com/acme/penstock-acme@v1.2.3"})
		}
		for _, other := range out {
			if other.module == e.module {
				errs = append(errs, &penstock.Error{Code: penstock.Invalid, Op: "build", Path: w, Err: errors.New("this module is named twice")})
			}
		}
		out = append(out, e)
	}
	return out, errors.Join(errs...)
}

// builder works in a temporary module.
type builder struct {
	ctx  context.Context
	tool string
	dir  string
	log  io.Writer
}

func (b *builder) say(format string, args ...any) {
	if b.log != nil {
		fmt.Fprintf(b.log, format+"\n", args...)
	}
}

// prepare writes the module: its main package, and what it requires.
func (b *builder) prepare(o BuildOptions, extras []extra) error {
	if err := os.WriteFile(filepath.Join(b.dir, "go.mod"), []byte("module penstock.local/custom\n\ngo 1.26.0\n"), 0o600); err != nil {
		return refused("build", "", err, "")
	}
	if err := os.WriteFile(filepath.Join(b.dir, "main.go"), mainOf(extras), 0o600); err != nil {
		return refused("build", "", err, "")
	}
	edits := []string{"mod", "edit", "-require=" + penstockModule + "@" + cmp.Or(o.Version, "v0.0.0")}
	if o.Source != "" {
		source, err := sourceFolder(o.Source)
		if err != nil {
			return refused("build", o.Source, err, "")
		}
		edits = []string{"mod", "edit", "-require=" + penstockModule + "@v0.0.0", "-replace=" + penstockModule + "=" + source}
	}
	var newest []string
	for _, e := range extras {
		switch {
		case e.path != "":
			edits = append(edits, "-require="+e.module+"@v0.0.0", "-replace="+e.module+"="+e.path)
		case e.version != "" && strings.HasPrefix(e.version, "v"):
			edits = append(edits, "-require="+e.module+"@"+e.version)
		default:
			newest = append(newest, e.module+"@"+cmp.Or(e.version, "latest"))
		}
	}
	for _, r := range o.Replace {
		m, p, ok := strings.Cut(r, "=")
		abs, err := filepath.Abs(p)
		if !ok || err != nil || p == "" {
			return &penstock.Error{Code: penstock.Invalid, Op: "build", Path: r, Err: errors.New("this is no replacement"), Hint: "write module=path"}
		}
		edits = append(edits, "-replace="+m+"="+abs)
	}
	if err := b.run(edits...); err != nil {
		return err
	}
	for _, m := range newest {
		b.say("getting %s", m)
		if err := b.run("get", m); err != nil {
			return err
		}
	}
	return nil
}

// mainOf is the source of the program.
func mainOf(extras []extra) []byte {
	var w bytes.Buffer
	w.WriteString("// Command custom is Penstock with further drivers. Generated by penstock build.\npackage main\n\nimport (\n\t\"os\"\n\n")
	fmt.Fprintf(&w, "\t\"%s/command\"\n\t\"%s/edition\"\n\n", penstockModule, penstockModule)
	for i, e := range extras {
		fmt.Fprintf(&w, "\textra%d %q\n", i, e.module)
	}
	w.WriteString(")\n\nfunc main() {\n\tr := edition.Standard()\n")
	for i := range extras {
		fmt.Fprintf(&w, "\textra%d.Register(r)\n", i)
	}
	w.WriteString("\tos.Exit(command.Main(r, \"\"))\n}\n")
	return w.Bytes()
}

// run calls the Go tool. What it says is part of the error.
func (b *builder) run(args ...string) error {
	cmd := exec.CommandContext(b.ctx, b.tool, args...)
	cmd.Dir = b.dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -mod=mod"))
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if b.ctx.Err() != nil {
		return b.ctx.Err()
	}
	text := strings.TrimSpace(strings.ReplaceAll(said.String(), b.dir+string(filepath.Separator), ""))
	return &penstock.Error{Code: penstock.Invalid, Op: "build", Err: fmt.Errorf("go %s: %w\n%s", args[0], err, text), Hint: buildHint(text)}
}

// buildHint says what to do about what the Go tool said.
func buildHint(text string) string {
	switch {
	case strings.Contains(text, "undefined: extra") && strings.Contains(text, "Register"):
		return "the package needs a function Register(r *penstock.Registry); `penstock connector new` writes one"
	case strings.Contains(text, "unrecognized import path \""+penstockModule), strings.Contains(text, penstockModule+"@"):
		return "name the source of Penstock with --source DIR"
	case strings.Contains(text, "cannot find module providing package"), strings.Contains(text, "module lookup disabled"):
		return "look at the module's path, and whether the module proxy (GOPROXY) can be reached"
	}
	return ""
}

// install puts a program where it is wanted, at once: a rename, of a copy beside it.
func install(from, to string) (err error) {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	w, err := os.OpenFile(to+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	if err = errors.Join(err, w.Close()); err != nil {
		return errors.Join(err, os.Remove(to+".new"))
	}
	return os.Rename(to+".new", to)
}
