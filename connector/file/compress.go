package file

import (
	"errors"
	"io"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// compression is how a file is compressed.
type compression string

const (
	plain    compression = "none"
	gzipped  compression = "gzip"
	zstandrd compression = "zstd"
)

// suffixes are what names of compressed files end with.
var suffixes = map[string]compression{".gz": gzipped, ".gzip": gzipped, ".zst": zstandrd, ".zstd": zstandrd}

// compressionOf is the compression that a configuration names, or else the suffix of the file.
func compressionOf(config, name string) compression {
	switch config {
	case "", "auto":
		if c, ok := suffixes[strings.ToLower(filepath.Ext(name))]; ok {
			return c
		}
		return plain
	}
	return compression(config)
}

// bare is name without the suffix of a compression.
func bare(name string) string {
	ext := filepath.Ext(name)
	if _, ok := suffixes[strings.ToLower(ext)]; ok {
		return strings.TrimSuffix(name, ext)
	}
	return name
}

// reader decompresses r. Close releases the decompressor only.
func (c compression) reader(r io.Reader) (io.ReadCloser, error) {
	switch c {
	case gzipped:
		z, err := gzip.NewReader(r)
		if errors.Is(err, io.EOF) {
			return io.NopCloser(strings.NewReader("")), nil // no bytes at all
		}
		return z, err
	case zstandrd:
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(r), nil
}

// compressor is what the writers of this package have in common.
type compressor interface {
	io.WriteCloser
	Flush() error
	Reset(w io.Writer)
}

// writer compresses to w; nil where nothing is compressed.
func (c compression) writer(w io.Writer) (compressor, error) {
	switch c {
	case gzipped:
		return gzip.NewWriterLevel(w, gzip.DefaultCompression)
	case zstandrd:
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20), zstd.WithZeroFrames(true)) // many may be open at once
	}
	return nil, nil
}

// wholePart finds how much of a compressed file of the given size is complete: everything up to the end of the last
// gzip member or zstd frame that has one.
func (c compression) wholePart(r io.ReaderAt, size int64) (int64, error) {
	if c == gzipped {
		return wholeGzip(r, size)
	}
	return wholeZstd(r, size)
}

// wholeGzip decompresses, since a member does not say where it ends.
func wholeGzip(r io.ReaderAt, size int64) (int64, error) {
	src := &byteCounter{r: io.NewSectionReader(r, 0, size)}
	var whole int64
	z, err := gzip.NewReader(src)
	for ; err == nil; err = z.Reset(src) {
		z.Multistream(false)
		if _, err = io.Copy(io.Discard, z); err != nil {
			break
		}
		whole = src.count()
	}
	if src.err != nil {
		return 0, src.err
	}
	return whole, nil
}

// byteCounter counts what is taken out of a buffer, which a gzip.Reader does not read beyond the end of a member if
// it is an io.ByteReader.
type byteCounter struct {
	r    io.Reader
	buf  [32 << 10]byte
	at   int
	n    int
	read int64 // before buf
	err  error // of r, other than its end
}

func (b *byteCounter) count() int64 { return b.read + int64(b.at) }

func (b *byteCounter) fill() error {
	if b.at < b.n {
		return nil
	}
	b.read += int64(b.n)
	b.at, b.n = 0, 0
	n, err := b.r.Read(b.buf[:])
	if n > 0 {
		b.n = n
		return nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// Read implements io.Reader.
func (b *byteCounter) Read(p []byte) (int, error) {
	if err := b.fill(); err != nil {
		return 0, err
	}
	n := copy(p, b.buf[b.at:b.n])
	b.at += n
	return n, nil
}

// ReadByte implements io.ByteReader.
func (b *byteCounter) ReadByte() (byte, error) {
	if err := b.fill(); err != nil {
		return 0, err
	}
	b.at++
	return b.buf[b.at-1], nil
}

// wholeZstd steps from block to block (RFC 8878 §3.1), whose lengths stand before them. What a power cut may have left
// a hole in is decompressed too, for its checksums.
func wholeZstd(r io.ReaderAt, size int64) (int64, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
	if err != nil {
		return 0, err
	}
	defer z.Close()
	var whole int64
	for whole < size {
		var head [zstd.HeaderMaxSize]byte
		n, err := r.ReadAt(head[:], whole)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		var h zstd.Header
		if h.Decode(head[:n]) != nil {
			return whole, nil
		}
		if h.Skippable {
			next := whole + int64(h.HeaderSize) + int64(h.SkippableSize)
			if next > size {
				return whole, nil
			}
			whole = next
			continue
		}
		at := whole + int64(h.HeaderSize)
		for last := false; !last; {
			var b [3]byte
			if _, err := r.ReadAt(b[:], at); err != nil {
				return whole, notEOF(err)
			}
			block := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
			last = block&1 == 1
			length := int64(block >> 3)
			if block>>1&3 == 1 {
				length = 1 // one byte, repeated
			}
			at += 3 + length
		}
		if h.HasCheckSum {
			at += 4
		}
		if at > size {
			return whole, nil
		}
		if at > size-2*syncEvery {
			if err := z.Reset(io.NewSectionReader(r, whole, at-whole)); err != nil {
				return whole, nil // the frame is broken: the file is whole up to it
			}
			if _, err := io.Copy(io.Discard, z); err != nil {
				return whole, nil
			}
		}
		whole = at
	}
	return whole, nil
}

func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
