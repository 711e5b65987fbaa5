// Package folder reads secrets from the files of a folder, one a secret: a mounted Kubernetes Secret, /run/secrets of a container,
// a credentials directory of systemd.
package folder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/secret/internal/files"
)

// Config is the configuration of the provider.
type Config struct {
	// The folder. The secret db-password is its file of this name, or the one file whose name is the same but for
	// capital letters, and points and underscores in place of hyphens: tls-key finds tls.key. One line end at the end
	// of a file is no part of the value.
	Path penstock.Template `json:"path" penstock:"required"`
	// How often to look for new values, beside being told by the operating system, which network file systems do not do.
	Every penstock.Duration `json:"every" penstock:"default=10s,min=100ms"`
}

// Register adds the provider.
func Register(r *penstock.Registry) {
	penstock.RegisterSecrets(r, penstock.Spec{
		Name:    "folder",
		Summary: "Secrets in the files of a folder, one each, such as a mounted Kubernetes Secret. New values are taken up while the program runs.",
	}, New)
}

// New makes the provider.
func New(c Config, env penstock.Env) (penstock.SecretProvider, error) {
	path, err := files.Path(c.Path, env)
	if err != nil {
		return nil, err
	}
	return &provider{path: path, every: c.Every.Std(), clock: env.Clock}, nil
}

type provider struct {
	path  string
	every time.Duration
	clock penstock.Clock
}

// data is the link that the kubelet turns to a new folder when a Secret has changed; the names beside it are links through it
// (k8s.io/kubernetes/pkg/volume/util, AtomicWriter).
const data = "..data"

// tries is how often a folder that is being changed is read again.
const tries = 5

// Read implements penstock.SecretProvider. Where the folder is a mounted Secret, all values are of one version of it.
func (p *provider) Read(ctx context.Context, names []string) (map[string]penstock.SecretReading, error) {
	for try := 1; ; try++ {
		out, err := p.read(names, try == tries)
		if err == nil || !errors.Is(err, files.ErrChanged) || try == tries {
			if err != nil {
				err = files.Unreadable(p.path, err)
			}
			return out, err
		}
		timer, stop := p.clock.NewTimer(10 * time.Millisecond)
		select {
		case <-timer:
		case <-ctx.Done():
			stop()
			return nil, ctx.Err()
		}
	}
}

// read reads once. What changes meanwhile is files.ErrChanged; where it is the last try, that stays with the file that changes.
func (p *provider) read(names []string, last bool) (map[string]penstock.SecretReading, error) {
	base, link := p.path, ""
	if to, err := os.Readlink(filepath.Join(p.path, data)); err == nil {
		link = to
		if base = to; !filepath.IsAbs(to) {
			base = filepath.Join(p.path, to)
		}
	}
	entries, err := os.ReadDir(base)
	if err != nil {
		if link != "" && errors.Is(err, os.ErrNotExist) {
			return nil, files.ErrChanged // turned away between the two calls
		}
		return nil, err
	}
	out := map[string]penstock.SecretReading{}
	for _, name := range names {
		found := matches(entries, name)
		switch len(found) {
		case 0:
			continue
		case 1:
		default:
			out[name] = penstock.SecretReading{Err: &penstock.Error{Code: penstock.Config, Path: p.path, Err: fmt.Errorf("both %s and %s could be meant", found[0], found[1]),
				Hint: "rename one of them"}}
			continue
		}
		v, err := files.Read(filepath.Join(base, found[0]))
		if err == nil {
			v, err = value(v)
		}
		if errors.Is(err, files.ErrChanged) && !last {
			return nil, files.ErrChanged
		}
		if err != nil {
			out[name] = penstock.SecretReading{Err: files.Unreadable(filepath.Join(p.path, found[0]), err)}
			continue
		}
		out[name] = penstock.SecretReading{Value: v}
	}
	if to, _ := os.Readlink(filepath.Join(p.path, data)); to != link {
		return nil, files.ErrChanged
	}
	return out, nil
}

// value is the text of a file without the line end that editors and echo leave.
func value(text string) (string, error) {
	v, ok := strings.CutSuffix(text, "\r\n")
	if !ok {
		v = strings.TrimSuffix(text, "\n")
	}
	if v == "" {
		return "", errors.New("it is empty")
	}
	return v, nil
}

// plain makes the name of a file what a secret may be called.
var plain = strings.NewReplacer(".", "-", "_", "-")

// matches lists the files that a secret may be in; the file of exactly its name is the only one then.
func matches(entries []os.DirEntry, name string) []string {
	var out []string
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), "..") {
			continue
		}
		if e.Name() == name {
			return []string{name}
		}
		if plain.Replace(strings.ToLower(e.Name())) == name {
			out = append(out, e.Name())
		}
	}
	return out
}

// Watch implements penstock.SecretProvider.
func (p *provider) Watch(ctx context.Context, changed func()) error {
	return files.Watch(ctx, files.Options{Folder: p.path, Stamp: p.stamp, Every: p.every, Clock: p.clock}, changed)
}

// stamp tells versions of the folder apart without reading values.
func (p *provider) stamp() string {
	var b strings.Builder
	link, _ := os.Readlink(filepath.Join(p.path, data))
	b.WriteString(link)
	entries, err := os.ReadDir(p.path)
	if err != nil {
		return "unreadable"
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, e := range entries {
		info, err := os.Stat(filepath.Join(p.path, e.Name())) // of what a link leads to
		if err != nil {
			fmt.Fprintf(&b, "|%s gone", e.Name())
			continue
		}
		fmt.Fprintf(&b, "|%s %d %d %o", e.Name(), info.Size(), info.ModTime().UnixNano(), info.Mode())
	}
	return b.String()
}

// Where implements penstock.SecretProvider.
func (p *provider) Where(name string) string { return "the file " + filepath.Join(p.path, name) }

// Close implements penstock.SecretProvider.
func (*provider) Close() error { return nil }
