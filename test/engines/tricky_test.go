package engines

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// tricky is an image of what programs that unpack images have got wrong.
type tricky struct {
	name   string
	layers []trickyLayer // lowest first
	// untimed says that directories have no entries; their times are those of the
	// unpacking.
	untimed bool
	// known has, for an engine, the files that it makes otherwise, as the beginnings
	// of their lines. docs/bundles.md tells of each.
	known map[string][]string
}

// trickyLayer is a layer's tar and how it is packed: "", "gzip" or "zstd".
type trickyLayer struct {
	packing string
	tar     []byte
}

// entry is one of a layer: a header with content, or, for what archive/tar does
// not write, all its bytes.
type entry struct {
	tar.Header
	content string
	raw     []byte
}

// modified is the time of entries that have no other; before and after it are
// used too.
var (
	modified    = time.Unix(1700000000, 123456789)
	wholeSecond = time.Unix(1700000000, 0)
)

func tarFile(name, content string, changes ...func(*tar.Header)) entry {
	return tarEntry(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}, content, changes)
}

func tarDir(name string, changes ...func(*tar.Header)) entry {
	return tarEntry(tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}, "", changes)
}

func tarSymlink(name, target string, changes ...func(*tar.Header)) entry {
	return tarEntry(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, "", changes)
}

// tarHardLink has the mode and time of the file, as an archiver writes it: engines
// set them.
func tarHardLink(name, target string, changes ...func(*tar.Header)) entry {
	return tarEntry(tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}, "", changes)
}

func tarNode(kind byte, name string, major, minor int64, changes ...func(*tar.Header)) entry {
	return tarEntry(tar.Header{Typeflag: kind, Name: name, Mode: 0o600, Devmajor: major, Devminor: minor}, "", changes)
}

func tarEntry(header tar.Header, content string, changes []func(*tar.Header)) entry {
	header.ModTime, header.Format = modified, tar.FormatPAX
	for _, change := range changes {
		change(&header)
	}
	return entry{Header: header, content: content}
}

func mode(m int64) func(*tar.Header)        { return func(h *tar.Header) { h.Mode = m } }
func owner(uid, gid int) func(*tar.Header)  { return func(h *tar.Header) { h.Uid, h.Gid = uid, gid } }
func at(when time.Time) func(*tar.Header)   { return func(h *tar.Header) { h.ModTime = when } }
func xattr(key, v string) func(*tar.Header) { return paxRecord("SCHILY.xattr."+key, v) }

func paxRecord(key, value string) func(*tar.Header) {
	return func(h *tar.Header) {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[key] = value
	}
}

// directories are the entries of a path's directories; the path ends with a slash.
func directories(path string) []entry {
	var entries []entry
	for i, c := range path {
		if c == '/' {
			entries = append(entries, tarDir(path[:i]))
		}
	}
	return entries
}

// layer packs the entries in their order.
func layer(t *testing.T, packing string, entries ...entry) trickyLayer {
	t.Helper()
	var packed bytes.Buffer
	writer := tar.NewWriter(&packed)
	for _, e := range entries {
		if e.raw != nil {
			if err := writer.Flush(); err != nil {
				t.Fatal(err)
			}
			packed.Write(e.raw)
			continue
		}
		if err := writer.WriteHeader(&e.Header); err != nil {
			t.Fatalf("%q: %v", e.Name, err)
		}
		if _, err := writer.Write([]byte(e.content)); err != nil {
			t.Fatalf("%q: %v", e.Name, err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return trickyLayer{packing, packed.Bytes()}
}

// blob returns the layer as it is stored, and its media type.
func (l trickyLayer) blob(t *testing.T) (data []byte, mediaType string) {
	t.Helper()
	const plain = "application/vnd.oci.image.layer.v1.tar"
	switch l.packing {
	case "gzip":
		var packed bytes.Buffer
		writer := gzip.NewWriter(&packed)
		if _, err := writer.Write(l.tar); err != nil {
			t.Fatal(err)
		}
		if err := writer.Close(); err != nil {
			t.Fatal(err)
		}
		return packed.Bytes(), plain + "+gzip"
	case "zstd":
		encoder, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		return encoder.EncodeAll(l.tar, nil), plain + "+zstd"
	}
	return l.tar, plain
}

// Values of security.capability, of revisions 2 and 3, with
// cap_net_bind_service=ep; the second one is for the user namespace whose root is 100.
const (
	capability    = "\x01\x00\x00\x02\x00\x04\x00\x00" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	capabilityFor = "\x01\x00\x00\x03\x00\x04\x00\x00" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" + "\x64\x00\x00\x00"
)

// trickyImages makes the images. Each is of two layers at least, so that layers
// meet.
func trickyImages(t *testing.T) []tricky {
	t.Helper()
	long := strings.Repeat("n", 255)
	deep := strings.Repeat("directory/", 40)
	early := time.Unix(-86400, 5)
	return []tricky{
		{name: "deletions", layers: []trickyLayer{
			layer(t, "gzip", tarDir("a"), tarFile("a/1", "1"), tarFile("a/2", "2"), tarDir("b"), tarFile("b/1", "1"), tarFile("c", "c"), tarDir("d"),
				tarDir("d/sub"), tarFile("d/sub/x", "x"), tarSymlink("g", "a"), tarDir("i"), tarDir("i/j"), tarFile("i/j/k", "k"), tarFile("twice", "1")),
			layer(t, "gzip", tarDir("a"), tarFile("a/.wh.1", ""), tarFile(".wh.b", ""), tarFile(".wh.c", ""), tarFile(".wh.g", ""), tarFile(".wh.never", ""),
				tarDir("i"), tarDir("i/j"), tarFile("i/j/.wh.k", ""), tarFile(".wh.twice", "")),
			layer(t, "", tarDir("b"), tarFile("b/2", "2"), tarSymlink("c", "a/2"), tarFile("twice", "2")),
		}},
		{name: "opaque", known: map[string][]string{"containerd": {`"again/old" f `}, "podman": {`"again/old" f `}}, layers: []trickyLayer{
			layer(t, "gzip", tarDir("a"), tarFile("a/old", "o"), tarDir("a/sub"), tarFile("a/sub/old", "o"), tarDir("b"), tarFile("b/old", "o"), tarDir("c"), tarDir("c/d"),
				tarFile("c/d/old", "o"), tarFile("c/old", "o"), tarDir("again"), tarFile("again/old", "o"), tarDir("e"), tarFile("e/old", "o")),
			layer(t, "gzip", tarDir("a"), tarFile("a/.wh..wh..opq", ""), tarFile("a/new", "n"), tarDir("a/sub"), tarFile("a/sub/new", "n"),
				tarDir("b", mode(0o700)), tarFile("b/new", "n"), tarFile("b/.wh..wh..opq", ""), tarDir("c"), tarDir("c/d"), tarFile("c/d/.wh..wh..opq", ""),
				// The other form of the same: deleted, and a new directory.
				tarFile(".wh.again", ""), tarDir("again"), tarFile("again/new", "n"), tarDir("fresh"), tarFile("fresh/.wh..wh..opq", ""), tarFile("fresh/x", "x"),
				tarDir("e"), tarFile("e/.wh..wh..opq", "")),
		}},
		{name: "hardlinks", layers: []trickyLayer{
			layer(t, "gzip", tarFile("one", "1"), tarHardLink("two", "one"), tarDir("dir"), tarHardLink("dir/three", "two"), tarSymlink("sym", "one"), tarHardLink("sym-too", "sym"),
				tarFile("kept", "k"), tarHardLink("kept-too", "./kept"), tarNode(tar.TypeFifo, "fifo", 0, 0, mode(0o644)), tarHardLink("fifo-too", "fifo")),
			// One of a group is replaced, one deleted; a new group has a name of the old one.
			layer(t, "zstd", tarFile("two", "other"), tarFile(".wh.kept", ""), tarFile("new", "n"), tarDir("dir"), tarHardLink("dir/three", "new"), tarHardLink("new-too", "/new")),
		}},
		{name: "devices", layers: []trickyLayer{
			layer(t, "", tarDir("dev"), tarNode(tar.TypeChar, "dev/null", 1, 3, mode(0o666)), tarNode(tar.TypeBlock, "dev/disk", 8, 1, owner(0, 6)),
				tarNode(tar.TypeChar, "dev/large", 4000, 1<<20-1), tarNode(tar.TypeFifo, "dev/fifo", 0, 0, mode(0o620), owner(7, 8)), tarNode(tar.TypeChar, "dev/gone", 1, 5)),
			layer(t, "gzip", tarDir("dev", mode(0o711)), tarNode(tar.TypeChar, "dev/disk", 5, 0), tarFile("dev/.wh.gone", ""), tarFile("dev/null", "no device")),
		}},
		{name: "xattrs", known: map[string][]string{"podman": {`"dir/empty" f `}}, layers: []trickyLayer{
			layer(t, "gzip", tarFile("capable", "c", xattr("security.capability", capability)), tarFile("nested", "n", xattr("security.capability", capabilityFor)),
				tarFile("owned", "o", owner(1000, 50), mode(0o4755), xattr("security.capability", capability), xattr("user.a", "1"), xattr("user.b", "\x00\xff\n")),
				tarDir("dir", xattr("user.on", "a directory")), tarFile("dir/empty", "e", xattr("user.empty", "")), tarFile("large", "l", xattr("user.large", strings.Repeat("v", 2000))),
				tarFile("loses", "x", xattr("user.gone", "x"), xattr("security.capability", capability))),
			layer(t, "zstd", tarFile("loses", "y"), tarDir("dir", xattr("user.other", "x")), tarHardLink("nothing", "loses")),
		}},
		{name: "owners", layers: []trickyLayer{
			layer(t, "gzip", tarDir(".", mode(0o700)), tarFile("suid", "x", mode(0o4755), owner(1000, 1000)), tarFile("sgid", "x", mode(0o2755), owner(0, 50)),
				tarDir("tmp", mode(0o1777)), tarDir("shared", mode(0o2775), owner(1000, 50)), tarFile("shared/f", "x", mode(0o600)), tarDir("shared/sub"),
				tarDir("closed", mode(0)), tarFile("closed/f", "x", mode(0)), tarFile("far", "x", owner(4294967293, 70000)), tarSymlink("link", "suid", owner(1000, 50)),
				tarDir("changes"), tarFile("changes/kept", "x", owner(5, 5)), tarFile("all", "x", mode(0o7777))),
			layer(t, "gzip", tarDir(".", mode(0o751), owner(3, 4)), tarDir("changes", mode(0o700), owner(9, 9)), tarFile("far", "x", owner(1, 2)), tarDir("tmp", mode(0o1777)), tarFile("tmp/new", "x")),
		}},
		{name: "names", layers: []trickyLayer{
			layer(t, "gzip", append(directories(deep), tarFile("caf\xe9", "latin 1"), tarFile("\xff\xfe\x80", "no text"), tarFile("line\nfeed", "x"), tarFile(" spaces ", "x"), tarFile("tab\tquote\"back\\", "x"),
				tarFile("日本語", "x"), tarFile(long, "x"), tarFile(deep+long, "x"), tarSymlink("to-deep", deep+long), tarHardLink("linked", deep+long), tarDir("caf\xe9s"),
				tarFile("caf\xe9s/x", "x"), tarFile("...", "x"), tarFile("-rf", "x"), tarFile(".whoami", "x"), tarFile("gone\xe9", "x"), tarDir("./dotted"), tarFile("./dotted//x", "x"))...),
			layer(t, "zstd", tarFile(".wh.gone\xe9", ""), tarDir("caf\xe9s"), tarFile("caf\xe9s/.wh.x", ""), tarFile(strings.Repeat("ü", 127), "x")),
		}},
		{name: "sparse", layers: []trickyLayer{
			layer(t, "gzip", sparsePAX("pax-1.0", 1<<20, 512<<10, "PAX 1.0"), sparsePAX01("pax-0.1", 3<<20, 1<<20, "PAX 0.1"), tarFile("zeros", strings.Repeat("\x00", 300000))),
			layer(t, "zstd", sparsePAX("pax-1.0", 2<<20, 1<<20, "in the middle"), tarHardLink("too", "pax-1.0", at(wholeSecond))),
		}},
		{name: "types", layers: []trickyLayer{
			layer(t, "gzip", tarFile("file-dir", "x"), tarDir("dir-file"), tarFile("dir-file/x", "x"), tarDir("dir-link"), tarFile("dir-link/x", "x"), tarDir("real"), tarFile("real/x", "x"),
				tarSymlink("link-dir", "real"), tarSymlink("link-file", "real/x"), tarSymlink("link-link", "real"), tarFile("file-fifo", "x"), tarNode(tar.TypeFifo, "fifo-dir", 0, 0),
				tarDir("usr"), tarDir("usr/lib"), tarSymlink("lib", "usr/lib"), tarFile("lib/through", "x"), tarSymlink("broken", "nowhere/at/all")),
			layer(t, "gzip", tarDir("file-dir"), tarFile("file-dir/x", "x"), tarFile("dir-file", "x"), tarSymlink("dir-link", "real"), tarDir("link-dir"), tarFile("link-dir/own", "x"),
				tarFile("link-file", "own"), tarSymlink("link-link", "dir-link"), tarNode(tar.TypeFifo, "file-fifo", 0, 0), tarDir("fifo-dir"), tarFile("broken", "x")),
			layer(t, "", tarSymlink("file-dir", "../../../etc"), tarDir("dir-file"), tarFile("dir-file/y", "y"), tarFile("link-dir", "file again")),
		}},
		{name: "implied", untimed: true, known: map[string][]string{"containerd": {`"own" d `, `"tmp" d `}}, layers: []trickyLayer{
			layer(t, "gzip", tarFile("made/for/it", "x"), tarDir("tmp", mode(0o1777)), tarDir("own", mode(0o700), owner(5, 6), xattr("user.x", "y")), tarFile("own/1", "x"), tarDir("usr"),
				tarDir("usr/lib"), tarSymlink("lib", "usr/lib")),
			layer(t, "gzip", tarFile("tmp/new", "x"), tarFile("own/2", "x"), tarFile("lib/later", "x")),
		}},
		{name: "times", layers: []trickyLayer{
			layer(t, "zstd", tarDir("dir", at(early)), tarFile("dir/1", "x", at(time.Unix(1, 999999999))), tarDir("dir/sub", at(time.Unix(1234567890, 1))), tarFile("dir/sub/late", "x", at(time.Unix(4102444800, 0))),
				tarSymlink("link", "dir", at(time.Unix(1500000000, 7))), tarFile("whole", "x", at(time.Unix(1600000000, 0))), tarNode(tar.TypeFifo, "fifo", 0, 0, at(time.Unix(1600000001, 0)))),
			layer(t, "gzip", tarFile("whole", "y", at(time.Unix(1600000002, 500))), tarDir("dir", at(time.Unix(1600000003, 0))), tarFile("dir/.wh.1", "")),
		}},
	}
}

// ustarHeader is a header in the form of old GNU tars, without its sum.
func ustarHeader(name string, kind byte, size int64) []byte {
	header := make([]byte, 512)
	copy(header, name)
	copy(header[100:], "0000644\x000000000\x000000000\x00")
	copy(header[124:], fmt.Sprintf("%011o\x00%011o\x00", size, wholeSecond.Unix()))
	header[156] = kind
	copy(header[257:], "ustar  \x00")
	return header
}

func summed(header []byte) []byte {
	copy(header[148:156], "        ")
	sum := 0
	for _, b := range header {
		sum += int(b)
	}
	copy(header[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return header
}

func padded(data []byte) []byte {
	return append(data, make([]byte, (512-len(data)%512)%512)...)
}

// sparsePAX is a file of size bytes that are zeros but for content at offset, in
// PAX format 1.0 (GNU tar, "Sparse Formats"): the map is before the data.
func sparsePAX(name string, size, offset int64, content string) entry {
	data := append(padded(fmt.Appendf(nil, "1\n%d\n%d\n", offset, len(content))), content...)
	return paxEntry(data, "GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.name", name, "GNU.sparse.realsize", strconv.FormatInt(size, 10))
}

// sparsePAX01 is the same in version 0.1: the map is a record.
func sparsePAX01(name string, size, offset int64, content string) entry {
	return paxEntry([]byte(content), "GNU.sparse.name", name, "GNU.sparse.size", strconv.FormatInt(size, 10), "GNU.sparse.numblocks", "2",
		"GNU.sparse.map", fmt.Sprintf("%d,%d,%d,0", offset, len(content), size))
}

// paxEntry is a file with PAX records, given as keys and values.
func paxEntry(data []byte, records ...string) entry {
	var extended []byte
	for i := 0; i < len(records); i += 2 {
		extended = append(extended, paxLine(records[i], records[i+1])...)
	}
	raw := append(summed(ustarHeader("PaxHeaders/sparse", tar.TypeXHeader, int64(len(extended)))), padded(extended)...)
	raw = append(raw, summed(ustarHeader("GNUSparseFile/sparse", tar.TypeReg, int64(len(data))))...)
	return entry{raw: append(raw, padded(data)...)}
}

// paxLine is a record: its length counts its own digits.
func paxLine(key, value string) string {
	rest := " " + key + "=" + value + "\n"
	n := len(rest)
	for len(strconv.Itoa(n))+len(rest) != n {
		n = len(strconv.Itoa(n)) + len(rest)
	}
	return strconv.Itoa(n) + rest
}

// trickyName is the name of a tricky image in an engine.
func trickyName(i tricky) string { return "docker.io/library/tricky:" + i.name }

// writeTricky writes the images as one OCI layout to dir. Each has its own name as
// tag.
func writeTricky(t *testing.T, dir string, images []tricky) {
	t.Helper()
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(path string, data []byte) {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	blob := func(data []byte) []byte {
		write(filepath.Join(blobs, hex.EncodeToString(sum(data))), data)
		return data
	}
	var manifests []any
	for _, i := range images {
		var layers []any
		var diffIDs []string
		for _, l := range i.layers {
			data, mediaType := l.blob(t)
			layers = append(layers, descriptor(mediaType, blob(data), nil))
			diffIDs = append(diffIDs, "sha256:"+hex.EncodeToString(sum(l.tar)))
		}
		config := blob(encode(t, map[string]any{
			"architecture": "amd64", "os": "linux",
			"config": map[string]any{"Cmd": []string{"/none"}},
			"rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs},
		}))
		manifest := blob(encode(t, map[string]any{
			"schemaVersion": 2,
			"mediaType":     "application/vnd.oci.image.manifest.v1+json",
			"config":        descriptor("application/vnd.oci.image.config.v1+json", config, nil),
			"layers":        layers,
		}))
		manifests = append(manifests, descriptor("application/vnd.oci.image.manifest.v1+json", manifest, map[string]string{
			"io.containerd.image.name":          trickyName(i),
			"org.opencontainers.image.ref.name": i.name,
		}))
	}
	write(filepath.Join(dir, "index.json"), encode(t, map[string]any{"schemaVersion": 2, "manifests": manifests}))
	write(filepath.Join(dir, "oci-layout"), encode(t, map[string]string{"imageLayoutVersion": "1.0.0"}))
}
