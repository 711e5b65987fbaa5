package resource

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/overlay"
)

// overlaysFolder is what folders are called that hold overlays: they are not part of the configuration that they are laid over.
const overlaysFolder = "overlays"

// patched are the kinds of which an overlay may change what is there: where and how something runs. What it does is the same everywhere.
var patched = []Kind{KindChannel, KindConnection, KindPolicy, KindIntegration}

// overlaid reads a configuration with an overlay: a kustomization, which says by itself what it is laid over, or a folder of resources,
// which are laid over what paths hold.
func (ld *loader) overlaid(paths []string, dir string) {
	dir = path.Clean(filepath.ToSlash(dir))
	o := &overlaying{ld: ld, dir: dir, files: map[string][]*Node{}}
	info, err := ld.stat(dir)
	switch {
	case err != nil:
		ld.noted.file(dir, nil, err)
		ld.unreadable(dir, err)
	case !info.IsDir():
		ld.diags.Errorf(penstock.Pos{File: dir}, "overlay", dir, "name the folder that it is in", "an overlay is a folder")
	case o.kustomization(dir) != "":
		if len(paths) > 0 {
			ld.diags.Errorf(penstock.Pos{File: o.kustomization(dir), Line: 1, Col: 1}, "overlay", paths[0], "leave "+paths[0]+" out, or list it under `resources`",
				"a kustomization says by itself what it is laid over: %s can't be named beside it", paths[0])
			return
		}
		o.kustomize()
	default:
		if len(paths) == 0 {
			paths = []string{"."}
		}
		o.folder(paths)
	}
}

// overlaying is one overlay, while it is read.
type overlaying struct {
	ld    *loader
	dir   string
	files map[string][]*Node // documents of Penstock by file
	// patches of the kustomization and of those below it, the one that is applied last first.
	patches []patch
}

// patch is what is laid over resources, with its places.
type patch struct {
	doc  *Node // a part of a resource
	pos  penstock.Pos
	kind *regexp.Regexp
	name *regexp.Regexp
}

func (p *patch) meets(kind, name string) bool {
	return (p.kind == nil || p.kind.MatchString(kind)) && (p.name == nil || p.name.MatchString(name))
}

// documents reads the resources in a file, once. What is wrong with their text is said.
func (o *overlaying) documents(file string) []*Node {
	if docs, read := o.files[file]; read {
		return docs
	}
	docs := []*Node{}
	src, err := o.ld.read(file)
	if err != nil {
		o.ld.unreadable(file, err)
		o.files[file] = docs
		return docs
	}
	own := &diag.List{}
	ours := false
	if text, ok := cleanSource(file, src, own); ok {
		for _, d := range splitDocuments(file, text, own) {
			l := &diag.List{}
			n := parseDocument(file, d, l)
			if !isOurs(n, d.text) {
				continue
			}
			ours = true
			o.ld.diags.Merge(l)
			if n != nil {
				docs = append(docs, n)
			}
		}
	}
	if ours || strings.Contains(string(src), "penstock.dev/") {
		o.ld.diags.Merge(own)
	}
	o.files[file] = docs
	return docs
}

// put decodes a document and puts it into the set.
func (o *overlaying) put(doc *Node, file string) {
	ld := o.ld
	ld.decoder.Diags, ld.decoder.Secrets = ld.diags, nil
	r := ld.resource(doc, file)
	ld.set.Secrets = append(ld.set.Secrets, ld.decoder.Secrets...)
	if r != nil {
		ld.add(r)
	}
}

// nameOf reads kind and name of a document.
func nameOf(n *Node) (kind, name string) {
	if k := n.Get("kind"); k != nil {
		kind = k.Text
	}
	if m := n.Get("metadata").Get("name"); m != nil {
		name = m.Text
	}
	return kind, name
}

// find finds the document of a kind and name in a file.
func (o *overlaying) find(file, kind, name string) *Node {
	for _, d := range o.documents(file) {
		if k, n := nameOf(d); k == kind && n == name {
			return d
		}
	}
	return nil
}

// folder lays the resources of a folder over those of paths.
func (o *overlaying) folder(paths []string) {
	ld := o.ld
	type laid struct {
		doc  *Node
		used bool
	}
	var over []*laid
	for _, f := range ld.find(o.dir) {
		for _, d := range o.documents(f.path) {
			over = append(over, &laid{doc: d})
		}
	}
	if len(over) == 0 && !ld.diags.HasErrors() {
		ld.diags.Errorf(penstock.Pos{File: o.dir}, "overlay", o.dir, "put resources into it, or a kustomization.yaml", "the overlay holds nothing")
	}
	var seen []string
	for _, p := range paths {
		for _, f := range ld.find(p) {
			if slices.Contains(seen, f.path) || below(o.dir, f.path) {
				continue
			}
			seen = append(seen, f.path)
			for _, d := range o.documents(f.path) {
				kind, name := nameOf(d)
				doc := d
				for _, l := range over {
					if k, n := nameOf(l.doc); k == kind && n == name && name != "" {
						l.used = true
						doc = merged(doc, l.doc)
					}
				}
				o.may(d, doc, kind, name)
				o.put(doc, f.path)
			}
		}
	}
	for _, l := range over {
		if !l.used {
			o.put(l.doc, l.doc.Pos.File)
		}
	}
}

// below says whether a file is in a folder, or in one of its folders; either may be told from the folder that the program works in.
func below(dir, file string) bool {
	from, err := filepath.Abs(filepath.FromSlash(dir))
	to, err2 := filepath.Abs(filepath.FromSlash(file))
	if err != nil || err2 != nil { // nobody knows where the program works: then nothing is absolute
		from, to = filepath.FromSlash(dir), filepath.FromSlash(file)
	}
	rel, err := filepath.Rel(from, to)
	return err == nil && rel != "." && filepath.IsLocal(rel)
}

// merged lays a part of a resource over it: maps are merged, null takes an entry away, everything else takes its place (RFC 7396).
func merged(base, over *Node) *Node {
	if base == nil || base.Kind != NodeMap || over.Kind != NodeMap {
		return over
	}
	out := *base
	out.Entries = nil
	for _, e := range base.Entries {
		switch l := over.Entry(e.Key); {
		case l == nil:
			out.Entries = append(out.Entries, e)
		case l.Value.Kind == NodeNull:
		default:
			out.Entries = append(out.Entries, NodeEntry{Key: e.Key, KeyPos: l.KeyPos, Value: merged(e.Value, l.Value)})
		}
	}
	for _, e := range over.Entries {
		if base.Entry(e.Key) == nil && e.Value.Kind != NodeNull {
			out.Entries = append(out.Entries, e)
		}
	}
	return &out
}

// may refuses an overlay that changes what a resource does: doc is what it has made of base.
func (o *overlaying) may(base, doc *Node, kind, name string) {
	if base == doc || slices.Contains(patched, Kind(kind)) {
		return
	}
	if at := firstDifference(base.Get("spec"), doc.Get("spec")); at != nil {
		pos := at.Pos
		if !pos.IsValid() {
			pos = penstock.Pos{File: o.dir}
		}
		o.ld.diags.Errorf(pos, "overlay", kind, "make a parameter of what differs: `params` of the Integration, whose values an overlay may set",
			"an overlay changes where and how things run (Channel, Connection, Policy, Integration), and this one changes the %s %s", kind, name)
	}
}

// firstDifference is the first part of b that is not the same in a; nil if there is none.
func firstDifference(a, b *Node) *Node {
	switch {
	case a == b || a != nil && b != nil && same(a, b):
		return nil
	case a == nil || b == nil:
		if b != nil {
			return b
		}
		return a
	case a.Kind == NodeMap && b.Kind == NodeMap:
		for _, e := range b.Entries {
			if d := firstDifference(a.Get(e.Key), e.Value); d != nil {
				return d
			}
		}
	case a.Kind == NodeList && b.Kind == NodeList && len(a.Elems) == len(b.Elems):
		for i := range b.Elems {
			if d := firstDifference(a.Elems[i], b.Elems[i]); d != nil {
				return d
			}
		}
	}
	return b
}

// kustomization is the path of the file that makes a folder a kustomization; "" if there is none.
func (o *overlaying) kustomization(dir string) string {
	for _, n := range overlay.Names {
		if i, err := o.ld.stat(path.Join(dir, n)); err == nil && !i.IsDir() {
			return path.Join(dir, n)
		}
	}
	return ""
}

// ofOverlay is how a kustomization is read.
type ofOverlay struct{ files }

// ReadFile implements overlay.Files.
func (f ofOverlay) ReadFile(name string) ([]byte, error) { return f.read(name) }

// Stat implements overlay.Files.
func (f ofOverlay) Stat(name string) (fs.FileInfo, error) { return f.stat(name) }

// ReadDir implements overlay.Files.
func (f ofOverlay) ReadDir(name string) ([]fs.DirEntry, error) { return f.list(name) }

// exists reports whether there is a file or folder.
func (o *overlaying) exists(p string) (folder, ok bool) {
	i, err := o.ld.stat(p)
	return err == nil && i.IsDir(), err == nil || !os.IsNotExist(err)
}
