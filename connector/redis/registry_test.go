package redis

import (
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// TestRegistryIsAway: what can't be read yet is waited for, and no dead letter.
func TestRegistryIsAway(t *testing.T) {
	f := on(t, service.Redis(t))
	for what, begin := range map[string]func(t *testing.T, n string, format penstock.Format) penstock.Source{
		"stream": func(t *testing.T, n string, format penstock.Format) penstock.Source {
			f.send(t, n, drive.Numbered(0, 8)...)
			return drive.Opened(t, f.source(t, SourceConfig{Stream: drive.Template(n), Format: format}))
		},
		"shared": func(t *testing.T, n string, format penstock.Format) penstock.Source {
			f.send(t, n, drive.Numbered(0, 8)...)
			return drive.Opened(t, f.source(t, SourceConfig{Stream: drive.Template(n), Shared: true, Format: format}))
		},
		"list": func(t *testing.T, n string, format penstock.Format) penstock.Source {
			f.do(t, append([]string{"LPUSH", n}, drive.Numbered(0, 8)...)...)
			return drive.Opened(t, f.source(t, SourceConfig{List: drive.Template(n), Format: format}))
		},
		"channel": func(t *testing.T, n string, format penstock.Format) penstock.Source {
			s := drive.Opened(t, f.source(t, SourceConfig{Channels: []penstock.Template{drive.Template(n)}, Format: format}))
			for _, b := range drive.Numbered(0, 8) {
				f.do(t, "PUBLISH", n, b)
			}
			return s
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			c := drive.NewRegistered(drive.JSON(t))
			c.Waits(t, begin(t, name(), c.Format()))
		})
	}
}
