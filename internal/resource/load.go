package resource

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
)

// files is how a set reads: from the machine, or from an fs.FS.
type files struct {
	fsys  fs.FS
	noted *reads
}

func (f files) read(name string) (text []byte, err error) {
	if f.fsys == nil {
		text, err = os.ReadFile(name)
	} else {
		text, err = fs.ReadFile(f.fsys, path.Clean(name))
	}
	f.noted.file(name, text, err)
	return text, err
}

func (f files) stat(name string) (fs.FileInfo, error) {
	if f.fsys == nil {
		return os.Stat(name)
	}
	return fs.Stat(f.fsys, path.Clean(name))
}

func (f files) list(name string) ([]fs.DirEntry, error) {
	if f.fsys == nil {
		return os.ReadDir(name)
	}
	return fs.ReadDir(f.fsys, path.Clean(name))
}

// besides is the path of a file that is named in another one.
func besides(file, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.ToSlash(filepath.Join(filepath.Dir(file), name))
}

// found is a file to read.
type found struct {
	path     string
	explicit bool // named by the user, not found in a folder
}

// loader gathers a set.
type loader struct {
	files
	decoder *Decoder
	diags   *diag.List
	set     *Set
	before  map[found]*documents // of another set: what was read there
}

// documents are what a file holds.
type documents struct {
	sum       [sha256.Size]byte // of the file
	resources []*Resource
	diags     *diag.List
	secrets   []SecretUse
}

func load(o Options) (*Set, *diag.List) {
	l := &diag.List{}
	from := files{o.FS, &reads{}}
	ld := &loader{
		files:   from,
		decoder: &Decoder{Diags: l, Registry: o.Registry},
		diags:   l,
		set:     &Set{files: from, registry: o.Registry, documents: map[found]*documents{}, byName: map[key]*Resource{}, allowExec: o.AllowExec},
	}
	if o.Before != nil && o.Before.registry == o.Registry {
		ld.before = o.Before.documents
	}
	var seen []string
	if o.Overlay != "" {
		ld.overlaid(o.Paths, o.Overlay)
	}
	for _, p := range o.Paths {
		if o.Overlay != "" {
			break
		}
		for _, f := range ld.find(p) {
			if slices.Contains(seen, f.path) {
				continue
			}
			seen = append(seen, f.path)
			ld.file(f)
		}
	}
	for _, t := range o.Texts {
		ld.text(found{filepath.ToSlash(t.Path), true}, t.Text)
	}
	ld.choose(o)
	ld.params(o)
	return ld.set, l
}

// find lists the files below a path, in order.
func (ld *loader) find(p string) []found {
	info, err := ld.stat(p)
	if err != nil {
		ld.noted.file(p, nil, err)
		ld.unreadable(p, err)
		return nil
	}
	if !info.IsDir() {
		return []found{{filepath.ToSlash(p), true}}
	}
	var out []found
	ld.noted.folder(filepath.ToSlash(p))
	entries, err := ld.list(p)
	if err != nil {
		ld.unreadable(p, err)
		return nil
	}
	for _, e := range entries { // sorted by name
		name := e.Name()
		at := path.Join(filepath.ToSlash(p), name)
		switch {
		case strings.HasPrefix(name, "."):
		case e.IsDir():
			if name != "testdata" && name != overlaysFolder {
				out = append(out, ld.find(at)...)
			}
		case strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml"):
			out = append(out, found{at, false})
		}
	}
	return out
}

func (ld *loader) unreadable(p string, err error) {
	hint := "look at the path"
	if os.IsPermission(err) {
		hint = "look at the permissions of the file"
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	ld.diags.Errorf(penstock.Pos{File: p}, "unreadable", p, hint, "can't be read: %v", err)
}

func (ld *loader) file(f found) {
	info, err := ld.stat(f.path)
	if err == nil && info.Size() > MaxFile {
		ld.diags.Errorf(penstock.Pos{File: f.path, Line: 1, Col: 1}, "file-too-large", "", "divide it into several files", "the file has %d bytes, more than %d", info.Size(), MaxFile)
		return
	}
	src, err := ld.read(f.path)
	if err != nil {
		ld.unreadable(f.path, err)
		return
	}
	ld.text(f, src)
}

// text takes what a file holds, from what was read before where that is the same.
func (ld *loader) text(f found, src []byte) {
	sum := sha256.Sum256(src)
	docs := ld.before[f]
	if docs == nil || docs.sum != sum {
		docs = ld.decode(f, src)
		docs.sum = sum
	}
	ld.set.documents[f] = docs
	ld.diags.Merge(docs.diags)
	ld.set.Secrets = append(ld.set.Secrets, docs.secrets...)
	for _, r := range docs.resources {
		ld.add(r)
	}
}

// decode reads what a file holds.
func (ld *loader) decode(f found, src []byte) *documents {
	out := &documents{diags: &diag.List{}}
	ld.decoder.Diags, ld.decoder.Secrets = out.diags, nil
	own := &diag.List{}
	text, ok := cleanSource(f.path, src, own)
	if !ok {
		if f.explicit || strings.Contains(string(src), "penstock.dev/") {
			out.diags.Merge(own)
		}
		return out
	}
	ours := f.explicit
	nodes := 0
	for _, d := range splitDocuments(f.path, text, own) {
		l := &diag.List{}
		n := parseDocument(f.path, d, l)
		if !f.explicit && !isOurs(n, d.text) {
			continue
		}
		ours = true
		out.diags.Merge(l)
		if n != nil || l.Len() > 0 {
			nodes++
		}
		if n != nil {
			if r := ld.resource(n, f.path); r != nil {
				out.resources = append(out.resources, r)
			}
		}
	}
	if ours {
		out.diags.Merge(own)
	}
	if f.explicit && nodes == 0 && own.Len() == 0 {
		out.diags.Errorf(penstock.Pos{File: f.path, Line: 1, Col: 1}, "empty", "", "write a resource into it: `penstock init` makes an example", "the file holds no resource")
	}
	out.secrets = ld.decoder.Secrets
	return out
}

var ourText = regexp.MustCompile(`(?m)^\s*["']?apiVersion["']?\s*:\s*["']?(penstock\.dev)?/?v1alpha1`)

// isOurs decides whether a document that was found in a folder is meant to be a resource of Penstock.
// Folders hold other YAML too: kustomizations, values, workflows. A document that could not be read
// is taken for ours where its text says so.
func isOurs(n *Node, text string) bool {
	if n == nil {
		return ourText.MatchString(text) || strings.Contains(text, "penstock.dev/v")
	}
	version, kind := n.Get("apiVersion"), n.Get("kind")
	if version != nil && version.Kind == NodeText {
		group, _, _ := strings.Cut(version.Text, "/")
		return diag.Nearest(group, []string{"penstock.dev"}) != ""
	}
	// Without a version only what has the whole shape of a resource counts.
	if kind == nil || n.Get("metadata") == nil && n.Get("spec") == nil {
		return false
	}
	return slices.Contains(kindWords(), kind.Text)
}

func kindWords() []string {
	var out []string
	for _, k := range Kinds() {
		out = append(out, string(k))
	}
	return append(out, unsupportedWords["kind"]...)
}

// resource decodes one document; nil where nothing can be made of it.
func (ld *loader) resource(n *Node, file string) *Resource {
	d := ld.decoder
	if n.Kind != NodeMap {
		d.wrong(n, &fieldInfo{}, "a map with apiVersion, kind, metadata and spec", "")
		return nil
	}
	r := &Resource{Pos: n.Pos, File: file, Doc: n}
	for i := range n.Entries {
		switch e := &n.Entries[i]; e.Key {
		case "apiVersion", "kind", "metadata", "spec":
		default:
			d.errorf(e.KeyPos, "unknown-field", e.Key, hintFor(e.Key, []string{"apiVersion", "kind", "metadata", "spec"}), "unknown field `%s`", e.Key)
		}
	}
	for _, f := range []string{"apiVersion", "kind", "metadata"} {
		if n.Get(f) == nil {
			hint := "add `" + f + ": …`"
			if f == "apiVersion" {
				hint = "add `apiVersion: " + APIVersion + "`"
			}
			d.errorf(n.Pos, "missing-field", "", hint, "the resource needs the field `%s`", f)
		}
	}
	if v := n.Get("apiVersion"); v != nil {
		if v.Kind != NodeText || v.Text != APIVersion {
			d.errorf(v.Pos, "wrong-value", clip(v.Text), "write `"+APIVersion+"`", "this version of Penstock doesn't read `%s`", clip(v.Text))
		}
		r.APIVersion = APIVersion
	}
	if m := n.Get("metadata"); m != nil {
		d.value(m, reflect.ValueOf(&r.Metadata).Elem(), &fieldInfo{name: "metadata"})
	}
	kind := n.Get("kind")
	if kind == nil {
		return nil
	}
	spec := newSpec(Kind(kind.Text))
	if spec == nil || kind.Kind != NodeText {
		if isUnsupported("kind", kind.Text) {
			d.errorf(kind.Pos, "unsupported", kind.Text, "leave it out, or use a later version", "the kind `%s` is part of the language but not supported by this version", kind.Text)
			return nil
		}
		d.errorf(kind.Pos, "unknown-kind", clip(kind.Text), hintFor(kind.Text, kindWords()[:len(Kinds())]), "unknown kind `%s`", clip(kind.Text))
		return nil
	}
	r.Kind, r.Spec = Kind(kind.Text), spec
	switch s := n.Get("spec"); {
	case s == nil && r.Kind == KindIntegration:
		d.Decode(&Node{Kind: NodeMap, Pos: n.Pos}, spec)
	case s == nil:
		d.errorf(n.Pos, "missing-field", "", "add `spec: …`", "the resource needs the field `spec`")
		(&Decoder{Diags: &diag.List{}}).Decode(&Node{Kind: NodeMap, Pos: n.Pos}, spec) // for the defaults
	default:
		d.value(s, reflect.ValueOf(spec).Elem(), &fieldInfo{name: "spec"})
	}
	return r
}

func newSpec(k Kind) any {
	switch k {
	case KindFlow:
		return new(Flow)
	case KindSchema:
		return new(Schema)
	case KindChannel:
		return new(Channel)
	case KindConnection:
		return new(Connection)
	case KindIntegration:
		return new(Integration)
	case KindJobQueue:
		return new(JobQueue)
	case KindPolicy:
		return new(Policy)
	case KindEntity:
		return new(Entity)
	case KindView:
		return new(View)
	case KindTest:
		return new(Test)
	}
	return nil
}

// add puts r into the set, unless its name is taken.
func (ld *loader) add(r *Resource) {
	if r.Name() != "" {
		k := key{r.Kind, r.Name()}
		if first, twice := ld.set.byName[k]; twice {
			ld.diags.Errorf(r.NamePos(), "duplicate-resource", r.Name(), "rename one of them",
				"the %s `%s` is there twice: first at %s", r.Kind, r.Name(), first.NamePos())
			return
		}
		ld.set.byName[k] = r
	}
	ld.set.Resources = append(ld.set.Resources, r)
}

// choose finds the integration in force.
func (ld *loader) choose(o Options) {
	var all []*Resource
	var names []string
	for _, r := range ld.set.Resources {
		if r.Kind == KindIntegration {
			all = append(all, r)
			names = append(names, r.Name())
		}
	}
	switch {
	case o.Integration != "":
		r, ok := ld.set.Find(KindIntegration, o.Integration)
		if !ok {
			ld.diags.Errorf(penstock.Pos{File: "--integration"}, "dangling-reference", o.Integration, hintFor(o.Integration, names), "there is no Integration `%s`", o.Integration)
			return
		}
		ld.set.integration = r
	case len(all) > 1:
		ld.diags.Errorf(all[1].NamePos(), "two-integrations", names[1], fmt.Sprintf("choose one with --integration %s", names[0]),
			"there are several integrations: %s", strings.Join(names, ", "))
	case len(all) == 1:
		ld.set.integration = all[0]
	}
	if it := ld.set.Integration(); it != nil && len(it.Select) > 0 && len(ld.set.Of(KindFlow)) == 0 {
		ld.diags.Warnf(it.At("select"), "selects-nothing", "", "look at the labels of the flows", "the integration selects no flow")
	}
}
