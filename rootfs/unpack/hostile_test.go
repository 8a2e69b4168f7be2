package unpack_test

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
	"github.com/sandboxrun/sandboxrun/rootfs/unpack"
	"golang.org/x/sys/unix"
)

// TestHostileEntries: each is refused with one line that names the entry and the
// reason, and nothing outside the target is touched (newArena).
func TestHostileEntries(t *testing.T) {
	requireRoot(t)
	long := strings.Repeat("d/", 300)
	tests := []struct {
		name    string
		entries []entry
		want    string // in the error
	}{
		{"dots", []entry{file("../file", "x")}, `entry "../file": its name has ".."`},
		{"dots within", []entry{folder("a"), file("a/../../file", "x")}, `entry "a/../../file": its name has ".."`},
		{"dots that stay", []entry{folder("a"), file("a/../b", "x")}, `its name has ".."`},
		{"absolute dots", []entry{file("/../../victim/file", "x")}, `its name has ".."`},
		{"dots alone", []entry{folder("..")}, `entry "..": its name has ".."`},
		{"write through an absolute link", []entry{symlink("a", "/etc"), file("a/passwd", "x")}, `entry "a/passwd": its path leads out of the layer by a symbolic link`},
		{"write through a relative link", []entry{symlink("a", "../../victim"), file("a/file", "x")}, `entry "a/file": its path leads out`},
		{"write through a chain", []entry{symlink("a", "b"), symlink("b", "c"), symlink("c", "../.."), file("a/victim/file", "x")}, "its path leads out"},
		{"directory through a link", []entry{symlink("a", "../../victim"), folder("a/new")}, "its path leads out"},
		{"directories implied through a link", []entry{symlink("a", "../../victim"), file("a/b/c", "x")}, "its path leads out"},
		{"through a link that replaced a directory", []entry{folder("a"), file("a/x", "1"), symlink("a", "../../victim"), file("a/file", "2")}, "its path leads out"},
		{"whiteout through a link", []entry{symlink("a", "../../victim"), file("a/.wh.file", "")}, "its path leads out"},
		{"opaque through a link", []entry{symlink("a", "../../victim"), file("a/.wh..wh..opq", "")}, "its path leads out"},
		{"link through a link", []entry{symlink("a", "../../victim"), symlink("a/l", "x")}, "its path leads out"},
		{"hard link to dots", []entry{hardLink("a", "../../victim/file")}, `entry "a": the target "../../victim/file" of the hard link is refused: it has ".."`},
		{"hard link to an absolute path", []entry{hardLink("a", "/etc/passwd")}, `it is a hard link to "/etc/passwd", which the layer does not have`},
		{"hard link through a link", []entry{symlink("s", "../../victim"), hardLink("a", "s/file")}, "its path leads out"},
		{"hard link written through", []entry{symlink("s", "../../victim/file"), hardLink("h", "s"), file("h/x", "x")}, "its path"},
		{"hard link to a directory", []entry{folder("d"), hardLink("a", "d")}, `it is a hard link to the directory "d"`},
		{"hard link to the root", []entry{hardLink("a", "/")}, "it is a hard link to the root directory"},
		{"hard link to itself", []entry{file("a", "x"), hardLink("a", "./a")}, "it is a hard link to itself"},
		{"hard link to itself by a link", []entry{folder("d"), file("d/a", "x"), symlink("s", "d"), hardLink("d/a", "s/a")}, "which the layer does not have"},
		{"cyclic links", []entry{symlink("a", "b"), symlink("b", "a"), file("a/x", "x")}, `entry "a/x": its path goes through symbolic links without end`},
		{"link to itself", []entry{symlink("a", "a"), file("a/x", "x")}, "without end"},
		{"dangling link", []entry{symlink("a", "nowhere"), file("a/x", "x")}, "its path goes through a symbolic link to nothing"},
		{"file as directory", []entry{file("a", "x"), file("a/b", "x")}, "its path goes through a file that is no directory"},
		{"whiteout of dots", []entry{folder("d"), file("d/.wh...", "")}, "it is a whiteout of the directory itself or of the one above"},
		{"whiteout of dot", []entry{file(".wh..", "")}, "it is a whiteout of the directory itself"},
		{"whiteout of nothing", []entry{file(".wh.", "")}, "it is a whiteout of the directory itself"},
		{"below a whiteout", []entry{file(".wh.a/b", "x")}, "it is below a whiteout"},
		{"forged whiteout", []entry{device(tar.TypeChar, "a", 0, 0)}, "a character device 0:0 is overlay's own sign"},
		{"root as link", []entry{symlink("/", "/etc")}, "it would replace the root directory"},
		{"empty link", []entry{symlink("a", "")}, "it is a symbolic link to nothing"},
		{"long component", []entry{file(strings.Repeat("n", 300), "x")}, "a component of its name is longer than the filesystem allows"},
		{"long name", []entry{file(strings.Repeat("abcdefghi/", 500)+"f", "x")}, "longer than 4095 bytes"},
		{"long link", []entry{symlink("a", strings.Repeat("x/", 2500))}, "longer than 4095 bytes"},
		{"deep", []entry{file(long+"f", "x")}, "it exceeds the limit Depth of 256 at entry"},
		{"unknown type", []entry{file("a", "").with(func(h *tar.Header) { h.Typeflag = 'V' })}, `its type 'V' is not one`},
		{"owner out of range", []entry{file("a", "").with(func(h *tar.Header) { h.Uid = 1<<32 - 1 })}, "user ID 4294967295 is out of range"},
		{"negative owner", []entry{file("a", "").with(func(h *tar.Header) { h.Gid = -5 })}, "group ID -5 is out of range"},
		{"device number", []entry{device(tar.TypeBlock, "a", 1<<20, 0)}, "device number 1048576:0 is out of range"},
	}
	for _, form := range []unpack.Form{unpack.Overlay, unpack.Applied} {
		for _, test := range tests {
			t.Run(fmt.Sprint(form, "/", test.name), func(t *testing.T) {
				_, err := newArena(t).unpack(pack(t, test.entries...), unpack.Options{Form: form})
				requireRefusal(t, err, test.want)
			})
		}
	}
}

// requireRefusal: one line, that says what is wanted, of a kind that callers know.
func requireRefusal(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("got %v, want %q", err, want)
	}
	var limit *unpack.LimitError
	if !errors.Is(err, unpack.ErrEntry) && !errors.As(err, &limit) {
		t.Errorf("%v is neither ErrEntry nor a LimitError", err)
	}
	if strings.Contains(err.Error(), "\n") || len(err.Error()) > 600 {
		t.Errorf("not one clear line: %q", err)
	}
}

// TestHarmlessEntries look hostile and are not: what they make stays inside.
func TestHarmlessEntries(t *testing.T) {
	requireRoot(t)
	tests := []struct {
		name    string
		entries []entry
		want    map[string]string // path in the target: content
	}{
		{"absolute name", []entry{file("/etc/passwd", "x")}, map[string]string{"etc/passwd": "x"}},
		{"slashes and dots", []entry{file(".//./a///b", "x")}, map[string]string{"a/b": "x"}},
		{"duplicates", []entry{file("a", "1"), file("a", "2")}, map[string]string{"a": "2"}},
		{"file over link out", []entry{symlink("a", "../../victim/file"), file("a", "x")}, map[string]string{"a": "x"}},
		{"file over hard link", []entry{file("a", "1"), hardLink("b", "a"), file("b", "2")}, map[string]string{"a": "1", "b": "2"}},
		{"file over directory", []entry{file("a/b/c", "1"), file("a", "2")}, map[string]string{"a": "2"}},
		{"directory over link out", []entry{symlink("a", "../../victim"), folder("a"), file("a/file", "x")}, map[string]string{"a/file": "x"}},
		{"link inside", []entry{folder("usr/lib"), symlink("lib", "usr/lib"), file("lib/x", "x")}, map[string]string{"usr/lib/x": "x"}},
		{"link with dots inside", []entry{folder("a/b"), symlink("a/up", ".."), file("a/up/x", "x")}, map[string]string{"x": "x"}},
		{"aufs", []entry{file(".wh..wh.plnk/1.2", "x"), file(".wh..wh.aufs", ""), file("a", "x")}, map[string]string{"a": "x"}},
		{"not UTF-8", []entry{file("caf\xe9", "x")}, map[string]string{"caf\xe9": "x"}},
		{"newline", []entry{file("a\nb", "x")}, map[string]string{"a\nb": "x"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := newArena(t)
			if _, err := a.unpack(pack(t, test.entries...), unpack.Options{}); err != nil {
				t.Fatal(err)
			}
			for name, want := range test.want {
				got, err := os.ReadFile(filepath.Join(a.target, name))
				if err != nil || string(got) != want {
					t.Errorf("%q has %q, %v, want %q", name, got, err, want)
				}
			}
		})
	}
}

func TestLimits(t *testing.T) {
	zeros := make([]byte, 100<<20)
	bomb := pack(t, file("bomb", string(zeros)))
	sparse := sparseArchive(1 << 40)
	tests := []struct {
		name    string
		archive []byte
		limits  unpack.Limits
		want    string
	}{
		{"bytes", pack(t, file("a", "123456")), unpack.Limits{Bytes: 5}, "limit Bytes of 5"},
		{"bytes of several", pack(t, file("a", string(zeros[:3000])), file("b", string(zeros[:3000]))), unpack.Limits{Bytes: 5000}, "limit Bytes of 5000"},
		{"file", pack(t, file("a", "123456")), unpack.Limits{FileBytes: 5}, `limit FileBytes of 5 at entry "a"`},
		{"entries", pack(t, file("a", ""), file("b", ""), file("c", "")), unpack.Limits{Entries: 2}, `limit Entries of 2 at entry "c"`},
		{"depth", pack(t, file("a/b/c", "")), unpack.Limits{Depth: 2}, `limit Depth of 2 at entry "a/b/c"`},
		{"gzip ratio", gzipped(t, bomb), unpack.Limits{Ratio: 100}, "limit Ratio of 100"},
		{"zstd ratio", zstded(t, bomb), unpack.Limits{}, "limit Ratio of 2000"},
		{"gzip bytes", gzipped(t, bomb), unpack.Limits{Bytes: 50 << 20}, "limit Bytes of 52428800"},
		{"sparse file", sparse, unpack.Limits{}, `limit FileBytes of 34359738368 at entry "hole"`},
		{"sparse total", sparse, unpack.Limits{FileBytes: 1 << 50}, `limit Bytes of 68719476736 at entry "hole"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := newArena(t)
			_, err := a.unpack(test.archive, unpack.Options{OwnAll: true, Limits: test.limits})
			var limit *unpack.LimitError
			if !errors.As(err, &limit) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// sparseArchive is an old GNU archive of a file that is one hole of size bytes.
func sparseArchive(size int64) []byte {
	header := make([]byte, 512)
	copy(header, "hole")
	copy(header[100:], "0000644\x000000000\x000000000\x00")
	copy(header[124:], "00000000000\x00") // nothing is stored
	copy(header[136:], "00000000000\x00")
	header[156] = 'S'
	copy(header[257:], "ustar  \x00")
	// One region at the end, of no bytes: offset and length, then realsize, all in
	// the base-256 form.
	put := func(at int, v int64) {
		header[at] = 0x80
		for i := range 8 {
			header[at+11-i] = byte(v >> (8 * i))
		}
	}
	put(386, size)
	put(398, 0)
	put(483, size)
	copy(header[148:156], "        ")
	sum := 0
	for _, b := range header {
		sum += int(b)
	}
	copy(header[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return append(header, make([]byte, 1024)...)
}

func TestSparseFileHasHoles(t *testing.T) {
	a := newArena(t)
	if _, err := a.unpack(sparseArchive(64<<20), unpack.Options{OwnAll: true}); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(a.target, "hole"), &st); err != nil {
		t.Fatal(err)
	}
	if st.Size != 64<<20 || st.Blocks*512 > 1<<20 {
		t.Errorf("size %d in %d bytes on disk, want %d in nearly none", st.Size, st.Blocks*512, 64<<20)
	}
}

func TestBrokenStreams(t *testing.T) {
	body := make([]byte, 3<<20)
	if _, err := rand.Read(body); err != nil {
		t.Fatal(err)
	}
	plain := pack(t, file("a", string(body)))
	packed, zipped := gzipped(t, plain), zstded(t, plain)
	flipped := bytes.Clone(packed)
	flipped[len(flipped)/2] ^= 0xff
	wrongSum := bytes.Clone(packed)
	wrongSum[len(wrongSum)-6] ^= 0xff
	tests := []struct {
		name   string
		stream []byte
		is     error
	}{
		{"truncated tar", plain[:len(plain)/2], unpack.ErrTruncated},
		{"truncated in a header", plain[:300], unpack.ErrTruncated},
		{"truncated gzip", packed[:len(packed)/2], unpack.ErrTruncated},
		{"truncated gzip header", packed[:5], unpack.ErrTruncated},
		{"truncated gzip trailer", packed[:len(packed)-3], unpack.ErrTruncated},
		{"truncated zstd", zipped[:len(zipped)/2], unpack.ErrTruncated},
		{"flipped gzip", flipped, unpack.ErrCorrupt},
		{"wrong checksum", wrongSum, unpack.ErrCorrupt},
		{"no tar", bytes.Repeat([]byte("hello"), 1000), unpack.ErrCorrupt},
		{"gzip of no tar", gzipped(t, bytes.Repeat([]byte("hello"), 1000)), unpack.ErrCorrupt},
		{"xz", []byte("\xfd7zXZ\x00and more"), unpack.ErrCompression},
		{"bzip2", []byte("BZh91AY&SY and more"), unpack.ErrCompression},
		{"zstd with a large window", zstded(t, plain, zstd.WithWindowSize(64<<20), zstd.WithSingleSegment(false)), nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := newArena(t).unpack(test.stream, unpack.Options{OwnAll: true})
			if !errors.Is(err, test.is) || (err != nil && strings.Contains(err.Error(), "\n")) {
				t.Errorf("got %v, want %v", err, test.is)
			}
		})
	}
}

func TestZstdWindowIsBounded(t *testing.T) {
	// A frame header that asks for a window of 128 MiB (RFC 8878, 3.1.1.1.2).
	stream := append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, (27 - 10) << 3}, make([]byte, 600)...)
	_, err := newArena(t).unpack(stream, unpack.Options{OwnAll: true})
	if !errors.Is(err, unpack.ErrCompression) {
		t.Errorf("got %v", err)
	}
}

// TestSourceFails: the reader's own error comes out, also within a compressed
// stream.
func TestSourceFails(t *testing.T) {
	broken := errors.New("the line went dead")
	archive := gzipped(t, pack(t, file("a", strings.Repeat("x", 10000))))
	for _, at := range []int{0, 1, 20, len(archive) - 1} {
		r := io.MultiReader(bytes.NewReader(archive[:at]), iotest.ErrReader(broken))
		_, err := unpack.Layer(t.Context(), t.TempDir(), r, unpack.Options{OwnAll: true})
		if !errors.Is(err, broken) {
			t.Errorf("after %d bytes: got %v", at, err)
		}
	}
}

func TestManyEntriesInOneDirectory(t *testing.T) {
	var entries []entry
	for i := range 10000 {
		entries = append(entries, file(fmt.Sprintf("d/%05d", i), ""))
	}
	a := newArena(t)
	result, err := a.unpack(pack(t, entries...), unpack.Options{OwnAll: true})
	if err != nil || result.Entries != 10000 {
		t.Fatalf("got %+v, %v", result, err)
	}
	names, err := os.ReadDir(filepath.Join(a.target, "d"))
	if err != nil || len(names) != 10000 {
		t.Errorf("got %d files, %v", len(names), err)
	}
}

func TestDevicesPolicy(t *testing.T) {
	archive := pack(t, device(tar.TypeBlock, "disk", 8, 0), file("a", "x"))
	result, err := newArena(t).unpack(archive, unpack.Options{OwnAll: true, Devices: unpack.SkipDevices})
	if err != nil || result.Skipped != 1 {
		t.Errorf("skip: got %+v, %v", result, err)
	}
	_, err = newArena(t).unpack(archive, unpack.Options{OwnAll: true, Devices: unpack.RefuseDevices})
	requireRefusal(t, err, `entry "disk": it is a device node`)
}
