package file

import (
	"errors"

	"penstock.dev/penstock"
)

// SourceConfig is the configuration of the source.
type SourceConfig struct {
	// The file to read, or a pattern: * stands for any characters of a name, ? for one, [a-z] for one of a set, ** for any
	// number of folders. What matches is read in the order of the names; names that begin with a point match only
	// where the pattern has it.
	Path penstock.Template `json:"path" penstock:"required"`
	// How a file is cut into messages and read. Default: by the suffix of the name, .json, .jsonl and .ndjson are json,
	// .csv is csv, .txt and .log are text.
	Format penstock.Format `json:"format"`
	// How the file is compressed: auto (by the suffix: .gz is gzip, .zst is zstd, all else is none), none, gzip or zstd.
	Compression string `json:"compression" penstock:"enum=auto|none|gzip|zstd,default=auto"`
	// The largest record; one that is larger fails.
	MaxRecord penstock.Size `json:"maxRecord" penstock:"min=1,default=16Mi"`
	// Take it that a pattern matches nothing, or that the file is not there: the flow ends at once. Otherwise
	// that is an error. With watch it never is.
	AllowEmpty bool `json:"allowEmpty"`
	// Wait for new files, so that the flow does not end (`watch: {}` has the defaults). The run then keeps state. Files are taken in the order of
	// their names, those that are there at the same time.
	//
	// A file that was read and grew is gone on with. One that was written over or replaced by another of its name is a new version, and read
	// from the beginning; so is one that grew where its last record had not been whole. A file that can't be read (no permission, a
	// compressed file that ends too early) is reported in the log, does not stop the others, and is tried again when it changes; with
	// `--once` it makes the run fail, at its end.
	Watch *Watch `json:"watch"`
	// What becomes of a file once everything in it is done: written and durable, filtered, or dead-lettered. If the process ends before, that is
	// made up for at the next start, and in a run that keeps state the file is not read again for it. Default: the file stays, and
	// a run that keeps state knows that it was read for as long as it is there.
	After *After `json:"after"`
}

// Watch says how a folder is watched.
type Watch struct {
	// How often to look.
	Every penstock.Duration `json:"every" penstock:"default=1s,min=10ms"`
	// How long the size of a file and its time of change must have stayed as they are before it is read, counted from when they were first
	// seen, also with `--once`. With 0s, files are taken as soon as they are seen: for folders into which complete files are moved.
	Stable penstock.Duration `json:"stable" penstock:"default=2s,min=0s"`
}

// After says what becomes of a file that is done. One of them is set.
type After struct {
	// The folder to move it to, relative to the one that penstock was started in; it is made if it is missing. Below it a file keeps the folders in which it
	// was found, from the first that the path has a pattern for: in/**/*.csv and done make done/eu/x.csv of in/eu/x.csv. A file
	// that is there already is never written over: the new one is numbered, x-2.csv. On another file system the file is copied, and then deleted.
	Move penstock.Template `json:"move"`
	// Delete it.
	Delete bool `json:"delete"`
	// Rename it, in its folder, by adding this to its name: .done makes x.csv.done of x.csv. Files whose names end like this are not
	// read, whatever the pattern says. A name that exists already is numbered: x-2.csv.done.
	Mark string `json:"mark"`
}

func (a After) validate() error {
	n := 0
	for _, set := range []bool{!a.Move.IsZero(), a.Delete, a.Mark != ""} {
		if set {
			n++
		}
	}
	switch {
	case n != 1:
		return errors.New("after wants one of move, delete: true and mark")
	case !goodSuffix(a.Mark):
		return errors.New("after.mark is added to a file's name: it can't have a separator, nor be .partial")
	}
	return nil
}

// Validate implements penstock.Resolver.
func (c SourceConfig) Validate() []error {
	var errs []error
	if c.After != nil {
		if err := c.After.validate(); err != nil {
			errs = append(errs, err)
		}
	}
	if w := c.Watch; w != nil && (w.Every < 0 || w.Stable < 0) {
		errs = append(errs, errors.New("watch: a time is negative"))
	}
	return errs
}

// NeedsState implements penstock.Stateful.
func (c SourceConfig) NeedsState() string {
	if c.Watch != nil {
		return "the folder is watched"
	}
	return ""
}
