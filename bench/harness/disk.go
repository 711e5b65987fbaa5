package harness

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	diskSyncs = 200
	diskPage  = 4096
)

// Disk measures how long the disk of a folder takes to make one page durable: the median of [diskSyncs] times writing 4 KiB over
// what is in a file (as a log that is used again is written) and fdatasync. Figures of whatever is durable follow it, so each is
// shown with the one that was measured right before, in the same folder. Takes some 50 ms.
func Disk(folder string) (p50 time.Duration, err error) {
	path := filepath.Join(folder, ".disk")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(path)) }()
	if _, err := f.Write(make([]byte, diskSyncs*diskPage)); err != nil {
		return 0, err
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	page, took := make([]byte, diskPage), make([]time.Duration, diskSyncs)
	for i := range took {
		page[0] = byte(i)
		began := time.Now()
		if _, err := f.WriteAt(page, int64(i)*diskPage); err != nil {
			return 0, err
		}
		if err := datasync(f); err != nil {
			return 0, fmt.Errorf("sync %s: %w", path, err)
		}
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}
