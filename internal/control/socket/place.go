package socket

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"penstock.dev/penstock"
)

// maxPath is how long the path of a socket may be: sun_path has 104 bytes on the BSDs and 108 on Linux, and the name under which a
// socket is made is a little longer than the one that it ends up with.
const maxPath = 90

// place is where the socket of a store may be.
type place struct {
	beside string // beside the store; "" where the path is too long
	other  string // in the system's folder of temporary files
}

// placeOf says where the socket of the store at path is. The file need not be there.
func placeOf(path string) (place, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return place{}, &penstock.Error{Code: penstock.Internal, Op: "control socket", Path: path, Err: err}
	}
	if real, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil { // a folder that is not there has no other name
		abs = filepath.Join(real, filepath.Base(abs))
	}
	name := filepath.Base(abs) + ".sock"
	if filepath.Base(abs) == "store.db" {
		name = "control.sock"
	}
	var p place
	if beside := filepath.Join(filepath.Dir(abs), name); len(beside) <= maxPath {
		p.beside = beside
	}
	sum := sha256.Sum256([]byte(abs))
	p.other = filepath.Join(os.TempDir(), "penstock-"+strconv.Itoa(os.Getuid()), hex.EncodeToString(sum[:8])+".sock")
	return p, nil
}

// choose says where a process listens: beside the store where that folder is there and private, else in the folder of temporary
// files, whose part of ours is made.
func (p place) choose() (string, error) {
	if p.beside != "" && private(filepath.Dir(p.beside)) == nil {
		return p.beside, nil
	}
	if len(p.other) > maxPath {
		return "", &penstock.Error{Code: penstock.Config, Op: "control socket", Path: p.other, Err: errors.New("the path is too long for a socket"),
			Hint: "set TMPDIR to a folder with a short name"}
	}
	dir := filepath.Dir(p.other)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", &penstock.Error{Code: penstock.Unavailable, Op: "control socket", Path: dir, Err: err, Hint: "set TMPDIR to a folder that can be written to"}
	}
	if err := private(dir); err != nil { // made by somebody else, who could listen in our name
		return "", &penstock.Error{Code: penstock.Forbidden, Op: "control socket", Path: dir, Err: err, Hint: "remove it, or set TMPDIR to a folder of your own"}
	}
	return p.other, nil
}

// private checks that a folder is one, is ours, and is open to nobody else.
func private(dir string) error {
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return errors.New("this is no folder")
	case !owned(info):
		return errors.New("this folder belongs to somebody else")
	case info.Mode().Perm()&0o077 != 0 && checksMode:
		return fmt.Errorf("this folder is open to others (%s)", info.Mode().Perm())
	}
	return nil
}
