package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// bare is what the system said of a file, without its path, which is shown beside it.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// writeResult writes text to standard output, or to a file, whole or not at all.
func (p *Program) writeResult(file string, text []byte) error {
	if file == "" || file == "-" {
		_, err := p.Stdout.Write(text)
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if err != nil {
		return fileError("write", file, err)
	}
	_, err = tmp.Write(text)
	if err == nil {
		err = tmp.Chmod(0o644)
	}
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // it is the first error that counts
		return fileError("write", file, err)
	}
	return nil
}
