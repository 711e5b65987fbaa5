package badinput_test
import ("testing";"strings";"fmt";"os";"path/filepath";"sync";"bytes";"syscall")
type hook struct { mu sync.Mutex; n int; do func(); buf bytes.Buffer }
func (h *hook) Write(p []byte) (int, error) { h.mu.Lock(); defer h.mu.Unlock(); if h.n++; h.n==1 { h.do() }; return h.buf.Write(p) }
func numbered(from, n int) string { var b strings.Builder; for i := range n { fmt.Fprintf(&b, "{\"v\":%07d,\"pad\":\"%s\"}\n", from+i+1000000, strings.Repeat("x", 80)) }; return b.String() }
func mount(t *testing.T, size string, flags uintptr) string {
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", flags, "size="+size); err != nil { t.Skip(err) }
	t.Cleanup(func() { syscall.Unmount(dir, 0) })
	return dir
}
func run2(t *testing.T, text string, p map[string]string) {}
func TestZ(t *testing.T) {
	t.Run("full dead", func(t *testing.T) {
		text := flowOf("from: { file: { path: \"${params.src}\" } }\nsteps: [ { fail: { code: invalid, message: bad } } ]\n")
		dead := mount(t, "64k", 0)
		in := filepath.Join(t.TempDir(), "in.jsonl"); os.WriteFile(in, []byte(numbered(0,1000)), 0o644)
		o := runWith(t, text, options{in: in, dead: dead}); l := len(o.dead); o.dead = nil; show(t, "fulldead", o); t.Log(l)
	})
	t.Run("devfull dead", func(t *testing.T) {
		text := flowOf("from: { file: { path: \"${params.src}\" } }\nsteps: [ { fail: { code: invalid, message: bad } } ]\n")
		dead := filepath.Join(t.TempDir(), "x"); os.WriteFile(dead, nil, 0o644)
		in := filepath.Join(t.TempDir(), "in.jsonl"); os.WriteFile(in, []byte(numbered(0,1000)), 0o644)
		func() {
		c := check(t, text, in)
		ro := runOpts(dead)
		sum, err := service().Run(t.Context(), c, ro)
		t.Log(err, sum.Flows[0].Dead, sum.Flows[0].Unsettled)
		}()
	})
	for _, mode := range []string{"replace", "append"} {
	for _, z := range []string{"", ".gz"} {
	t.Run("full sink "+mode+z, func(t *testing.T) {
		full := mount(t, "64k", 0)
		text := flowOf("from: { file: { path: \"${params.src}\" } }\nto: { file: { path: \""+full+"/out.jsonl"+z+"\", mode: "+mode+" } }\n")
		show(t, "fullsink", runFlow(t, text, "in.jsonl", numbered(0,200000)))
		e, _ := os.ReadDir(full)
		for _, x := range e { i, _ := x.Info(); t.Log(x.Name(), i.Size()) }
	})
	}}
	t.Run("ro sink", func(t *testing.T) {
		full := mount(t, "64k", syscall.MS_RDONLY)
		text := flowOf("from: { file: { path: \"${params.src}\" } }\nto: { file: { path: \""+full+"/out.jsonl\" } }\n")
		show(t, "ro", runFlow(t, text, "in.jsonl", numbered(0,2)))
	})
	t.Run("ro sink varying", func(t *testing.T) {
		full := mount(t, "64k", syscall.MS_RDONLY)
		text := flowOf("from: { file: { path: \"${params.src}\" } }\nto: { file: { path: \""+full+"/${body.v}.jsonl\" } }\n")
		show(t, "ro", runFlow(t, text, "in.jsonl", numbered(0,3)))
	})
	t.Run("ro dead", func(t *testing.T) {
		full := mount(t, "64k", syscall.MS_RDONLY)
		text := flowOf("from: { file: { path: \"${params.src}\" } }\nsteps: [ { fail: { code: invalid, message: bad } } ]\n")
		in := filepath.Join(t.TempDir(), "in.jsonl"); os.WriteFile(in, []byte(numbered(0,3)), 0o644)
		show(t, "ro", runWith(t, text, options{in: in, dead: full}))
	})
	t.Run("full stdout", func(t *testing.T) {
		text := flowOf("from: { file: { path: \"${params.src}\" } }\nto: { stdout: {} }\n")
		f, _ := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		defer f.Close()
		in := filepath.Join(t.TempDir(), "in.jsonl"); os.WriteFile(in, []byte(numbered(0,3)), 0o644)
		show(t, "full stdout", runWith(t, text, options{in: in, stdout: f}))
	})
}
