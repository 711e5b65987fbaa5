package resource

import (
	"crypto/sha256"
	"slices"
	"sync"
)

// FileRead is a file that a configuration was read from.
type FileRead struct {
	Path string
	// Sum tells one content from another (SHA-256); zero where the file could not be read.
	Sum [sha256.Size]byte
}

// reads notes what a set was read from. It is safe for concurrent use.
type reads struct {
	mu      sync.Mutex
	files   []FileRead
	folders []string
}

func (r *reads) file(path string, text []byte, err error) {
	if r == nil {
		return
	}
	f := FileRead{Path: path}
	if err == nil {
		f.Sum = sha256.Sum256(text)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files = append(r.files, f)
}

func (r *reads) folder(path string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.folders, path) {
		r.folders = append(r.folders, path)
	}
}

// since lists the files that were read after the first n.
func (r *reads) since(n int) []FileRead {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.files[min(n, len(r.files)):])
}

// Files are the files that the set was read from so far, in the order of reading: documents, files of parameters, and the
// neighbours that [Set.ReadFile] was asked for. A file that was read twice is there twice.
func (s *Set) Files() []FileRead { return s.noted.since(0) }

// FilesSince are those of [Set.Files] behind the first n.
func (s *Set) FilesSince(n int) []FileRead { return s.noted.since(n) }

// Folders are the folders that were looked through for documents: a file that appears there may be part of the configuration.
func (s *Set) Folders() []string {
	if s.noted == nil {
		return nil
	}
	s.noted.mu.Lock()
	defer s.noted.mu.Unlock()
	return slices.Clone(s.noted.folders)
}
