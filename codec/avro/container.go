package avro

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// Avro 1.11, "Object Container Files".
const (
	magic     = "Obj\x01"
	markSize  = 16
	schemaKey = "avro.schema"
	codecKey  = "avro.codec"
)

const (
	// maxHeader bounds the header of a container: its schema, mostly.
	maxHeader = 16 << 20
	// maxBlock bounds a block, compressed and not.
	maxBlock = 256 << 20
	// blockSize is from which size on a block is written; blocks that begin and end so are what others do well with.
	blockSize = 64 << 10
)

// Transcode implements penstock.Transcoder: a container is read as lines of JSON, one for each datum.
func (c *codec) Transcode([]byte) func(io.Reader) io.Reader {
	if !c.config.Container {
		return nil
	}
	return func(r io.Reader) io.Reader { return &containerReader{codec: c, src: bufio.NewReaderSize(r, 64<<10)} }
}

// containerReader gives the data of a container as lines of JSON.
type containerReader struct {
	codec *codec
	src   *bufio.Reader
	begun bool
	node  *node // reads what the file was written with
	mark  [markSize]byte
	open  func(dst, block []byte) ([]byte, error) // decompresses
	block []byte                                  // of the last block what is not read yet
	raw   []byte
	left  int64 // data in it
	count int64 // data read so far
	out   []byte
	text  []byte // all of out's memory
	err   error
}

// Read implements io.Reader.
func (r *containerReader) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.fill()
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

func (r *containerReader) fail(code penstock.Code, format string, args ...any) {
	r.err = &penstock.Error{Code: code, Op: "avro", Path: fmt.Sprintf("datum %d of the container", r.count+1), Err: fmt.Errorf(format, args...)}
}

// fill reads some more data.
func (r *containerReader) fill() {
	if !r.begun {
		r.begun = true
		if r.header(); r.err != nil {
			return
		}
	}
	if r.left == 0 {
		if r.nextBlock(); r.err != nil {
			return
		}
	}
	text := r.text[:0]
	for r.left > 0 && len(text) < blockSize {
		d := reading{src: r.block, limit: len(text) + 8*r.codec.max}
		out := r.node.append(&d, text)
		if d.err != nil {
			r.err = &penstock.Error{Code: penstock.CodeOf(d.err), Op: "avro", Path: fmt.Sprintf("datum %d of the container", r.count+1), Err: d.err}
			break
		}
		if d.at == 0 && r.left > maxBlock { // data without bytes, in a number that nobody means
			r.fail(penstock.TooLarge, "a block of %d data without bytes", r.left)
			break
		}
		text = append(out, '\n')
		r.block = r.block[d.at:]
		r.left--
		r.count++
	}
	if r.left == 0 && len(r.block) > 0 && r.err == nil {
		r.fail(penstock.Invalid, "%d bytes stand behind the last datum of a block", len(r.block))
	}
	r.out, r.text = text, text
}

// exactly reads n bytes.
func (r *containerReader) exactly(n int64, most int64, what string) []byte {
	if r.err != nil {
		return nil
	}
	if n < 0 || n > most {
		r.fail(penstock.Invalid, "%s has a length of %d bytes", what, n)
		return nil
	}
	var b bytes.Buffer // grows with what is really there
	if _, err := io.CopyN(&b, r.src, n); err != nil {
		r.broken(err)
		return nil
	}
	return b.Bytes()
}

func (r *containerReader) broken(err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		r.fail(penstock.Invalid, "the container ends in the middle of a block")
		return
	}
	r.err = err
}

func (r *containerReader) long() int64 {
	if r.err != nil {
		return 0
	}
	v, err := binary.ReadVarint(r.src)
	if err != nil {
		r.broken(err)
	}
	return v
}

func (r *containerReader) header() {
	if head := r.exactly(int64(len(magic)), 4, "the header"); r.err != nil || string(head) != magic {
		r.err = &penstock.Error{Code: penstock.Invalid, Op: "avro", Err: errors.New("this is no object container file of Avro"), Hint: "if it is one datum, leave `container` out"}
		return
	}
	meta := map[string][]byte{}
	size := int64(0)
	for r.err == nil {
		n := r.long()
		if n == 0 {
			break
		}
		if n < 0 {
			n = -n
			r.long()
		}
		for ; n > 0 && r.err == nil; n-- {
			key := string(r.exactly(r.long(), maxName, "a name in the header"))
			meta[key] = r.exactly(r.long(), maxHeader-size, "the header")
			if size += int64(len(key) + len(meta[key])); size > maxHeader || len(meta) > maxName {
				r.fail(penstock.TooLarge, "the header is too large")
			}
		}
	}
	copy(r.mark[:], r.exactly(markSize, markSize, "the header"))
	if r.err != nil {
		return
	}
	writer, err := parse(meta[schemaKey])
	if err == nil {
		reader := writer
		if r.codec.schema != nil {
			reader = r.codec.schema
		}
		r.node, err = compile(writer, reader)
	}
	if err != nil {
		r.err = &penstock.Error{Code: penstock.Unprocessable, Op: "avro", Err: fmt.Errorf("the schema of the container can't be read as %s: %w", orItself(r.codec.config.Schema.Name), err)}
		return
	}
	r.open, r.err = decompressor(string(meta[codecKey]))
}

const maxName = 10_000

func orItself(name string) string {
	if name == "" {
		return "one"
	}
	return name
}

func (r *containerReader) nextBlock() {
	if _, err := r.src.Peek(1); err != nil {
		r.err = err // io.EOF: a container ends between blocks
		return
	}
	count := r.long()
	if count < 0 {
		r.fail(penstock.Invalid, "a block has %d data", count)
	}
	raw := r.exactly(r.long(), maxBlock, "a block")
	mark := r.exactly(markSize, markSize, "a block")
	if r.err != nil {
		return
	}
	if !bytes.Equal(mark, r.mark[:]) {
		r.fail(penstock.Invalid, "a block does not end with the mark of the file")
		return
	}
	block, err := r.open(r.raw[:0], raw)
	if err != nil {
		r.fail(penstock.Invalid, "a block can't be decompressed: %w", err)
		return
	}
	r.raw, r.block, r.left = block, block, count
	if count == 0 && len(block) > 0 {
		r.fail(penstock.Invalid, "%d bytes stand behind the last datum of a block", len(block))
	}
}

var errTooLarge = fmt.Errorf("it has more than %d bytes", maxBlock)

func decompressor(name string) (func(dst, block []byte) ([]byte, error), error) {
	switch name {
	case "", "null":
		return func(_, block []byte) ([]byte, error) { return block, nil }, nil
	case "deflate":
		return func(dst, block []byte) ([]byte, error) {
			b := bytes.NewBuffer(dst)
			n, err := io.Copy(b, io.LimitReader(flate.NewReader(bytes.NewReader(block)), maxBlock+1))
			if n > maxBlock {
				err = errTooLarge
			}
			return b.Bytes(), err
		}, nil
	case "snappy":
		return func(dst, block []byte) ([]byte, error) {
			if len(block) < 4 {
				return nil, io.ErrUnexpectedEOF
			}
			body := block[:len(block)-4]
			if n, err := s2.DecodedLen(body); err != nil || n > maxBlock {
				return nil, errors.Join(err, errTooLarge)
			}
			out, err := s2.Decode(dst[:cap(dst)], body)
			if err == nil && crc32.ChecksumIEEE(out) != binary.BigEndian.Uint32(block[len(body):]) {
				err = errors.New("its checksum is wrong")
			}
			return out, err
		}, nil
	case "zstandard":
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBlock))
		if err != nil {
			return nil, err
		}
		return func(dst, block []byte) ([]byte, error) { return d.DecodeAll(block, dst) }, nil
	}
	return nil, &penstock.Error{Code: penstock.Unprocessable, Op: "avro", Err: fmt.Errorf("the container is compressed by %.40q", name), Hint: "null, deflate, snappy and zstandard are read"}
}

// compressor appends a compressed block.
func compressor(name string) (func(dst, block []byte) ([]byte, error), error) {
	switch name {
	case "deflate":
		w, err := flate.NewWriter(io.Discard, flate.DefaultCompression)
		return func(dst, block []byte) ([]byte, error) {
			b := bytes.NewBuffer(dst)
			w.Reset(b)
			_, err := w.Write(block)
			err = errors.Join(err, w.Close())
			return b.Bytes(), err
		}, err
	case "snappy":
		return func(dst, block []byte) ([]byte, error) {
			return binary.BigEndian.AppendUint32(append(dst, s2.EncodeSnappy(nil, block)...), crc32.ChecksumIEEE(block)), nil
		}, nil
	case "zstandard":
		e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
		return func(dst, block []byte) ([]byte, error) { return e.EncodeAll(block, dst), nil }, err
	}
	return func(dst, block []byte) ([]byte, error) { return append(dst, block...), nil }, nil
}

// lineFramer cuts what a container was read as.
type lineFramer struct{ codec *codec }

// Frame implements penstock.Framer.
func (f *lineFramer) Frame(data []byte, atEOF bool) (int, []byte, error) {
	if bytes.HasPrefix(data, []byte(magic)) {
		return 0, nil, &penstock.Error{Code: penstock.Config, Op: "avro", Err: errors.New("a container can't be read here as it comes"), Hint: "containers are read from files and standard input, and by decode steps"}
	}
	n := bytes.IndexByte(data, '\n')
	switch {
	case n >= 0:
		return n + 1, data[:n:n], nil
	case atEOF && len(data) > 0:
		return 0, nil, &penstock.Error{Code: penstock.Invalid, Op: "avro", Err: errors.New("this is no object container file of Avro")}
	}
	return 0, nil, nil
}

// Bind implements penstock.Framer.
func (f *lineFramer) Bind(d *jsonview.Doc, record []byte) { d.Reset(jsonview.JSON, record) }

// decodeContainer appends the list of what a container holds.
func (c *codec) decodeContainer(dst, src []byte) ([]byte, error) {
	r := containerReader{codec: c, src: bufio.NewReader(bytes.NewReader(src))}
	out := append(dst, '[')
	for r.err == nil {
		r.fill()
		for line := range bytes.Lines(r.out) {
			out = append(append(out, line[:len(line)-1]...), ',')
			if len(out)-len(dst) > 8*c.max {
				return dst, &penstock.Error{Code: penstock.TooLarge, Op: "avro", Err: errors.New("the list of all that the container holds is too large"), Hint: "read it as a file, datum by datum"}
			}
		}
		r.out = nil
	}
	if !errors.Is(r.err, io.EOF) {
		return dst, r.err
	}
	return closed(out, ']'), nil
}

// encodeContainer appends a container that holds the elements of a list, or a document that is none.
func (c *codec) encodeContainer(dst []byte, d *jsonview.Doc) ([]byte, error) {
	e := &containerEncoder{codec: c}
	if err := e.ready(); err != nil {
		return dst, err
	}
	if d.Kind(0) != jsonview.Array {
		out, err := e.Append(e.Begin(dst), d)
		if err != nil {
			return dst, err
		}
		return e.End(out), nil
	}
	out, i := e.Begin(dst), 0
	for n := d.First(0); n != jsonview.None; n = d.Next(n) {
		var bad *misfit
		if e.block, bad = c.own.write(e.block, d, n); bad != nil {
			return dst, bad.at(fmt.Sprintf("[%d]", i)).error()
		}
		i++
		e.count++
		if len(e.block) >= blockSize {
			out = e.flush(out)
		}
	}
	return e.End(out), nil
}

// containerEncoder writes a container. A block is written when it is large enough, and whole.
type containerEncoder struct {
	codec    *codec
	mark     [markSize]byte
	compress func(dst, block []byte) ([]byte, error)
	block    []byte
	count    int64
	err      error
}

// ready says why nothing can be written.
func (e *containerEncoder) ready() error {
	if e.codec.own == nil {
		return &penstock.Error{Code: penstock.Config, Op: "avro", Err: errors.New("nothing can be written without a schema"), Hint: "add `schema: …` to the format"}
	}
	if e.compress == nil && e.err == nil {
		e.compress, e.err = compressor(e.codec.config.Compression)
		_, _ = rand.Read(e.mark[:]) // never fails
	}
	return e.err
}

// Begin implements penstock.Encoder.
func (e *containerEncoder) Begin(dst []byte) []byte {
	if e.ready() != nil {
		return dst // Append says it
	}
	dst = append(dst, magic...)
	meta := [][2]string{{schemaKey, string(e.codec.config.Schema.Schema.Text)}}
	if name := e.codec.config.Compression; name != "" {
		meta = append(meta, [2]string{codecKey, name})
	}
	dst = binary.AppendVarint(dst, int64(len(meta)))
	for _, m := range meta {
		for _, s := range m {
			dst = append(binary.AppendVarint(dst, int64(len(s))), s...)
		}
	}
	return append(append(dst, 0), e.mark[:]...)
}

// Append implements penstock.Encoder.
func (e *containerEncoder) Append(dst []byte, d *jsonview.Doc) ([]byte, error) {
	if err := e.ready(); err != nil {
		return dst, err
	}
	if err := d.Parse(jsonview.Limits{}); err != nil {
		return dst, &penstock.Error{Code: penstock.Invalid, Op: "avro", Err: err}
	}
	mark := len(e.block)
	block, bad := e.codec.own.write(e.block[:mark], d, 0)
	if bad != nil {
		return dst, bad.error()
	}
	e.block = block
	e.count++
	if len(e.block) >= blockSize {
		dst = e.flush(dst)
	}
	return dst, e.err
}

// End implements penstock.Encoder. A container that was never begun ends with a header: it has an end, so that nothing can be appended to the file.
func (e *containerEncoder) End(dst []byte) []byte {
	if e.compress == nil {
		return e.Begin(dst)
	}
	return e.flush(dst)
}

// flush appends the block.
func (e *containerEncoder) flush(dst []byte) []byte {
	if e.count == 0 {
		return dst
	}
	packed, err := e.compress(nil, e.block)
	if err != nil {
		e.err = err
		return dst
	}
	dst = binary.AppendVarint(dst, e.count)
	dst = append(binary.AppendVarint(dst, int64(len(packed))), packed...)
	e.block, e.count = e.block[:0], 0
	return append(dst, e.mark[:]...)
}
