package resource

import (
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/overlay"
)

// kustomize builds the overlay's kustomization. What it leaves as it was stands where it stood, with the text that it had; what it
// changes stands in the patch that says so.
func (o *overlaying) kustomize() {
	before := o.ld.diags.Len()
	o.survey(o.dir, nil)
	if o.ld.diags.Len() > before {
		return
	}
	built, err := overlay.Build(ofOverlay{o.ld.files}, o.dir)
	if err != nil {
		o.failed(err)
		return
	}
	for i := range built {
		o.built(&built[i])
	}
}

// survey reads what the kustomization in a folder says, and those that it is made of: where patches stand, and that nothing is to be fetched from
// elsewhere. via are the folders on the way to it.
func (o *overlaying) survey(dir string, via []string) {
	file := o.kustomization(dir)
	doc := o.read(file)
	if doc == nil {
		return
	}
	o.gather(doc, file)
	for _, list := range []string{"resources", "bases", "components"} {
		for _, e := range elems(doc.Get(list)) {
			at := besides(file, e.Text)
			switch folder, ok := o.exists(at); {
			case !ok:
				what, hint := "there is no such file or folder", "look at the path: it is relative to "+file
				if strings.Contains(e.Text, "://") || strings.Contains(e.Text, "github.com") || strings.Contains(e.Text, "?ref=") {
					what, hint = "it stands elsewhere, and a configuration is read from files only", "fetch it first, and name the folder"
				}
				o.ld.diags.Errorf(e.Pos, "overlay", e.Text, hint, "%s: %s", list, what)
			case folder && o.kustomization(at) == "":
				o.ld.diags.Errorf(e.Pos, "overlay", e.Text, "add a kustomization.yaml to it with `resources: [ … ]`", "the folder %s holds no kustomization", at)
			case folder:
				at, way := path.Clean(at), append(slices.Clone(via), dir)
				switch i := slices.IndexFunc(way, func(d string) bool { return d == at || below(at, d) }); {
				case i >= 0 && way[i] == at:
					o.ld.diags.Errorf(e.Pos, "overlay", e.Text, "", "the kustomization is made of itself: %s", strings.Join(append(way[i:], at), " → "))
				case i >= 0:
					o.ld.diags.Errorf(e.Pos, "overlay", e.Text, "move what is laid over into a folder of its own beside `overlays`: base; or leave kustomization.yaml out, and name both: penstock run "+at+" -k "+o.dir,
						"the folder %s holds %s, which can't be laid over it: that is a rule of kustomize", at, way[i])
				default:
					o.survey(at, way)
				}
			case list == "resources":
				o.documents(at)
			}
		}
	}
}

// read reads a kustomization.
func (o *overlaying) read(file string) *Node {
	src, err := o.ld.read(file)
	if err != nil {
		o.ld.unreadable(file, err)
		return nil
	}
	l := &diag.List{}
	docs := ParseYAML(file, src, l)
	o.ld.diags.Merge(l)
	if l.HasErrors() {
		return nil
	}
	if len(docs) != 1 || docs[0].Kind != NodeMap {
		o.ld.diags.Errorf(penstock.Pos{File: file, Line: 1, Col: 1}, "overlay", "", "write `resources: [ … ]`", "a kustomization is one map")
		return nil
	}
	return docs[0]
}

func elems(n *Node) []*Node {
	if n == nil {
		return nil
	}
	return n.Elems
}

// gather notes the patches of a kustomization, the last one first.
func (o *overlaying) gather(doc *Node, file string) {
	var own []patch
	add := func(n, target *Node, text string, inline bool) {
		var docs []*Node
		if inline {
			docs = inlined(n)
		} else {
			at := besides(file, text)
			src, err := o.ld.read(at)
			if err != nil {
				o.ld.diags.Errorf(n.Pos, "overlay", text, "look at the path: it is relative to "+file, "there is no such patch")
				return
			}
			l := &diag.List{}
			docs = ParseYAML(at, src, l)
			o.ld.diags.Merge(l)
		}
		for _, d := range docs {
			p := patch{doc: d, pos: d.Pos}
			if d.Kind == NodeList {
				p.doc = ofOperations(d)
			}
			if target != nil {
				p.kind, p.name = selector(target.Get("kind")), selector(target.Get("name"))
			} else if kind, name := nameOf(p.doc); name != "" {
				p.kind, p.name = exactly(kind), exactly(name)
			}
			own = append([]patch{p}, own...)
		}
	}
	for _, n := range elems(doc.Get("patchesStrategicMerge")) {
		add(n, nil, n.Text, strings.Contains(n.Text, "\n"))
	}
	for _, list := range []string{"patches", "patchesJson6902"} {
		for _, n := range elems(doc.Get(list)) {
			if at := n.Get("path"); at != nil {
				add(at, n.Get("target"), at.Text, false)
			} else if text := n.Get("patch"); text != nil {
				add(text, n.Get("target"), "", true)
			}
		}
	}
	o.patches = append(o.patches, own...)
}

func selector(n *Node) *regexp.Regexp {
	if n == nil || n.Text == "" {
		return nil
	}
	re, err := regexp.Compile("^(?:" + n.Text + ")$")
	if err != nil {
		return exactly(n.Text)
	}
	return re
}

func exactly(s string) *regexp.Regexp { return regexp.MustCompile("^" + regexp.QuoteMeta(s) + "$") }

// inlined reads documents that stand in a text of another one, with their places there.
func inlined(n *Node) []*Node {
	out := ParseYAML(n.Pos.File, []byte(n.Text), &diag.List{}) // kustomize says what is wrong with it
	from := n.TextPos
	if !from.IsValid() {
		from = n.Pos
	}
	for _, d := range out {
		shift(d, from)
	}
	return out
}

func shift(n *Node, from penstock.Pos) {
	move := func(p *penstock.Pos) {
		if p.Line > 0 {
			p.Line, p.Col = p.Line+from.Line-1, p.Col+from.Col-1
		}
	}
	move(&n.Pos)
	move(&n.TextPos)
	for i := range n.Entries {
		move(&n.Entries[i].KeyPos)
		shift(n.Entries[i].Value, from)
	}
	for _, e := range n.Elems {
		shift(e, from)
	}
}

// ofOperations makes of a JSON patch (RFC 6902) the part of a resource that it says, for the sake of places.
func ofOperations(ops *Node) *Node {
	root := &Node{Kind: NodeMap, Pos: ops.Pos}
	for _, op := range ops.Elems {
		value, at := op.Get("value"), op.Get("path")
		if value == nil || at == nil {
			continue
		}
		n := root
		parts := strings.Split(strings.TrimPrefix(at.Text, "/"), "/")
		for i, part := range parts {
			part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
			if i == len(parts)-1 {
				n.Entries = append(n.Entries, NodeEntry{Key: part, KeyPos: at.Pos, Value: value})
				break
			}
			next := n.Get(part)
			if next == nil || next.Kind != NodeMap {
				next = &Node{Kind: NodeMap, Pos: at.Pos}
				n.Entries = append(n.Entries, NodeEntry{Key: part, KeyPos: at.Pos, Value: next})
			}
			n = next
		}
	}
	return root
}

// built takes one resource that the kustomization has made.
func (o *overlaying) built(b *overlay.Built) {
	l := &diag.List{}
	file := b.Origin
	if file == "" {
		file = o.kustomization(o.dir)
	}
	docs := ParseYAML(file, []byte(b.YAML), l)
	if len(docs) != 1 || !isOurs(docs[0], b.YAML) {
		return // of another program, or said where it stands
	}
	var from []*Node
	for i := range o.patches {
		if p := &o.patches[i]; p.meets(b.WasKind, b.WasName) {
			from = append(from, p.doc)
		}
	}
	base := o.find(b.Origin, b.WasKind, b.WasName)
	if base == nil && b.Origin != "" {
		return // it can't be read where it stands, which was said
	}
	if base != nil {
		from = append(from, base)
	}
	at := penstock.Pos{File: file, Line: 1, Col: 1}
	if base != nil {
		at = base.Pos
	}
	doc := placed(docs[0], from, at)
	if base != nil {
		o.may(base, doc, b.WasKind, b.WasName)
	}
	o.put(doc, file)
}

// placed gives a part of a built resource the places of what it was made of: the first of from that is the same stands for it; where none is, it
// stands where the first of them does, or, of what has parts of its own, the last: where it was before.
func placed(n *Node, from []*Node, at penstock.Pos) *Node {
	for _, f := range from {
		if same(f, n) {
			return f
		}
	}
	if len(from) > 0 {
		at = from[0].Pos
		if n.Kind == NodeMap || n.Kind == NodeList {
			at = from[len(from)-1].Pos
		}
	}
	out := *n
	out.Pos, out.TextPos = at, at
	switch n.Kind {
	case NodeMap:
		out.Entries = make([]NodeEntry, 0, len(n.Entries))
		for _, e := range inOrder(n, from) {
			keyPos := at
			var below []*Node
			for _, f := range from {
				if own := f.Entry(e.Key); own != nil {
					if below == nil {
						keyPos = own.KeyPos
					}
					below = append(below, own.Value)
				}
			}
			out.Entries = append(out.Entries, NodeEntry{Key: e.Key, KeyPos: keyPos, Value: placed(e.Value, below, keyPos)})
		}
	case NodeList:
		out.Elems = make([]*Node, len(n.Elems))
		for i, e := range n.Elems {
			var below []*Node
			for _, f := range from {
				if f.Kind == NodeList && i < len(f.Elems) {
					below = append(below, f.Elems[i])
				}
			}
			out.Elems[i] = placed(e, below, at)
		}
	default:
	}
	return &out
}

// inOrder lists the entries of a map in the order that they have in the resource that it was made of (the last of from): a patch may have
// sorted them.
func inOrder(n *Node, from []*Node) []NodeEntry {
	if len(from) == 0 {
		return n.Entries
	}
	var out []NodeEntry
	base := from[len(from)-1]
	for _, e := range base.Entries {
		if own := n.Entry(e.Key); own != nil {
			out = append(out, *own)
		}
	}
	for _, e := range n.Entries {
		if base.Entry(e.Key) == nil {
			out = append(out, e)
		}
	}
	return out
}

// same reports whether two documents say the same, in whatever order and style: kustomize writes 1e3 as 1000.
func same(a, b *Node) bool {
	if a.Kind == NodeMap && b.Kind == NodeMap {
		if len(a.Entries) != len(b.Entries) {
			return false
		}
		for _, e := range a.Entries {
			other := b.Get(e.Key)
			if other == nil || !same(e.Value, other) {
				return false
			}
		}
		return true
	}
	if a.Kind == NodeList && b.Kind == NodeList {
		if len(a.Elems) != len(b.Elems) {
			return false
		}
		for i := range a.Elems {
			if !same(a.Elems[i], b.Elems[i]) {
				return false
			}
		}
		return true
	}
	number := func(n *Node) bool { return n.Kind == NodeInt || n.Kind == NodeFloat }
	if number(a) && number(b) {
		x, errX := strconv.ParseFloat(a.Text, 64)
		y, errY := strconv.ParseFloat(b.Text, 64)
		return a.Text == b.Text || errX == nil && errY == nil && x == y
	}
	return a.Kind == b.Kind && a.Text == b.Text && a.Bool == b.Bool
}

var (
	resourceID   = regexp.MustCompile(`([A-Z][A-Za-z]*)\.v1alpha1\.penstock\.dev/([-a-z0-9.]+?)(?:\.\[|[\s;'"]|$)`)
	unknownField = regexp.MustCompile(`unknown field "([^"]+)"`)
)

// failed says what kustomize says, at the place that it is about as far as that is known.
func (o *overlaying) failed(err error) {
	text := strings.TrimSpace(strings.ReplaceAll(err.Error(), "\n", " "))
	file := o.kustomization(o.dir)
	pos, hint := penstock.Pos{File: file, Line: 1, Col: 1}, ""
	doc := o.read(file)
	if m := unknownField.FindStringSubmatch(text); m != nil && doc != nil {
		if e := doc.Entry(m[1]); e != nil {
			pos = e.KeyPos
		}
		text = "a kustomization has no field `" + m[1] + "`"
	}
	if m := resourceID.FindStringSubmatch(text); m != nil {
		for i := range o.patches {
			if p := &o.patches[i]; p.kind != nil && p.meets(m[1], m[2]) && p.pos.IsValid() {
				pos = p.pos
				break
			}
		}
		if strings.Contains(text, "no matches for Id") {
			var names []string
			for _, docs := range o.files {
				for _, d := range docs {
					if kind, name := nameOf(d); kind == m[1] {
						names = append(names, name)
					}
				}
			}
			text, hint = "there is no "+m[1]+" "+m[2]+" that could be patched", hintFor(m[2], names)
		}
	}
	for i := range o.patches { // kustomize names the file of a patch that it can't read
		if f := o.patches[i].pos.File; f != "" && f != file && strings.Contains(text, filepath.Base(f)) {
			pos = o.patches[i].pos
		}
	}
	o.ld.diags.Errorf(pos, "overlay", "", hint, "the kustomization can't be built: %s", text)
}
