package unpack_test

import (
	"archive/tar"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/tree"
	"github.com/sandboxrun/sandboxrun/rootfs/unpack"
)

// capability is cap_net_bind_service=ep, version 2.
var capability, _ = hex.DecodeString("0100000200040000000000000000000000000000")

// tricky is a layer of everything that a root filesystem has.
func tricky() []entry {
	owned := func(h *tar.Header) { h.Uid, h.Gid = 1000, 50 }
	mode := func(m int64) func(*tar.Header) { return func(h *tar.Header) { h.Mode = m } }
	return []entry{
		folder("./").with(mode(0o751)),
		folder("bin"),
		file("bin/su", "x").with(mode(0o4755)),
		file("bin/ping", "x").xattr("security.capability", string(capability)).xattr("user.note", "v\x00w"),
		folder("tmp").with(mode(0o1777)),
		folder("shared").with(mode(0o2775)).with(owned),
		file("shared/f", "x").with(mode(0o600)),
		folder("closed").with(mode(0)),
		file("closed/f", "x"),
		file("owned", "x").with(owned),
		symlink("link", "/etc/passwd").with(owned),
		hardLink("same", "owned"),
		hardLink("same-link", "link"),
		device(tar.TypeChar, "null", 1, 3),
		device(tar.TypeBlock, "disk", 8, 1),
		device(tar.TypeFifo, "pipe", 0, 0),
		file("implied/a/b", "x"),
		file(strings.Repeat("long", 60)+"/"+strings.Repeat("name", 60), "x"),
		file("caf\xe9", "latin 1"),
		file("old", "x").with(func(h *tar.Header) { h.ModTime = time.Unix(-86400, 5) }),
		file("empty", ""),
	}
}

// TestTreeIsWhatTheLayerSays: paths, types, modes, owners, xattrs, times, links.
func TestTreeIsWhatTheLayerSays(t *testing.T) {
	requireRoot(t)
	want := `"." d 0751 0 0 0 - 1700000000.123456789 {} - -
"bin" d 0755 0 0 0 - 1700000000.123456789 {} - -
"bin/ping" f 0644 0 0 1 - 1700000000.123456789 {"security.capability"=0100000200040000000000000000000000000000,"user.note"=760077} - X
"bin/su" f 4755 0 0 1 - 1700000000.123456789 {} - X
"caf\xe9" f 0644 0 0 7 - 1700000000.123456789 {} - sha256:` + manifest.DigestOf([]byte("latin 1")).Hex() + `
"closed" d 0000 0 0 0 - 1700000000.123456789 {} - -
"closed/f" f 0644 0 0 1 - 1700000000.123456789 {} - X
"disk" b 0600 0 0 0 8:1 1700000000.123456789 {} - -
"empty" f 0644 0 0 0 - 1700000000.123456789 {} - -
"implied" d 0755 0 0 0 - 0.000000000 {} - -
"implied/a" d 0755 0 0 0 - 0.000000000 {} - -
"implied/a/b" f 0644 0 0 1 - 1700000000.123456789 {} - X
"link" l 0777 1000 50 0 - 1700000000.123456789 {} "/etc/passwd" -
"LONG" d 0755 0 0 0 - 0.000000000 {} - -
"LONG/NAME" f 0644 0 0 1 - 1700000000.123456789 {} - X
"null" c 0600 0 0 0 1:3 1700000000.123456789 {} - -
"old" f 0644 0 0 1 - -86400.000000005 {} - X
"owned" f 0644 1000 50 1 - 1700000000.123456789 {} - X
"pipe" p 0600 0 0 0 - 1700000000.123456789 {} - -
"same" f 0644 1000 50 1 - 1700000000.123456789 {} ="owned" -
"same-link" l 0777 1000 50 0 - 1700000000.123456789 {} ="link" -
"shared" d 2775 1000 50 0 - 1700000000.123456789 {} - -
"shared/f" f 0600 0 0 1 - 1700000000.123456789 {} - X
"tmp" d 1777 0 0 0 - 1700000000.123456789 {} - -
`
	want = strings.NewReplacer("LONG", strings.Repeat("long", 60), "NAME", strings.Repeat("name", 60), " X\n", " sha256:"+manifest.DigestOf([]byte("x")).Hex()+"\n").Replace(want)
	archive := pack(t, tricky()...)
	for _, stream := range [][]byte{archive, gzipped(t, archive), zstded(t, archive)} {
		a := newArena(t)
		result, err := a.unpack(stream, unpack.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := describe(t, a.target, tree.Options{Times: true}); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", result.Compression, got, want)
		}
		if result.DiffID != string(manifest.DigestOf(archive)) || result.Digest != string(manifest.DigestOf(stream)) || result.Read != int64(len(stream)) {
			t.Errorf("got %+v", result)
		}
	}
}

// TestTreeIsThatOfTar: GNU tar gives the same tree for what both understand.
func TestTreeIsThatOfTar(t *testing.T) {
	requireRoot(t)
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skip("needs tar")
	}
	var entries []entry
	for _, e := range tricky() {
		if !strings.HasPrefix(e.Name, "implied") && !strings.HasPrefix(e.Name, "long") {
			entries = append(entries, e)
		}
	}
	archive := pack(t, entries...)
	a := newArena(t)
	if _, err := a.unpack(archive, unpack.Options{}); err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	command := exec.Command("tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", "-", "-C", other)
	command.Stdin = bytes.NewReader(archive)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got, want := describe(t, a.target, tree.Options{Times: true}), describe(t, other, tree.Options{Times: true}); got != want {
		t.Errorf("got\n%s\ntar\n%s", got, want)
	}
}

// TestSparseFilesOfTar: what GNU tar packs as sparse in each of its forms comes out
// as it was, with holes. containerd and podman know the PAX forms only, so
// TestUnpackedTrees of test/engines cannot compare the oldest one.
func TestSparseFilesOfTar(t *testing.T) {
	requireRoot(t)
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skip("needs tar")
	}
	dir := t.TempDir()
	for name, data := range map[string][]int64{"middle": {1 << 20}, "ends": {0, 3<<20 - 4}, "many": {0, 1 << 18, 1 << 19, 1 << 20, 5 << 18, 3 << 19, 7 << 18}, "hole": nil} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, offset := range data {
			if _, err := f.WriteAt([]byte("data"), offset); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(f.Truncate(3<<20), f.Close(), os.Chtimes(f.Name(), modified, modified.Truncate(time.Second))); err != nil {
			t.Fatal(err)
		}
	}
	want := describe(t, dir, tree.Options{Times: true})
	for _, form := range [][]string{{"--format=gnu"}, {"--format=pax", "--sparse-version=0.0"}, {"--format=pax", "--sparse-version=0.1"}, {"--format=pax", "--sparse-version=1.0"}} {
		t.Run(strings.Join(form, " "), func(t *testing.T) {
			archive, err := exec.Command("tar", slices.Concat(form, []string{"--sparse", "-c", "-C", dir, "."})...).Output()
			if err != nil {
				t.Fatal(err)
			}
			if len(archive) > 1<<20 {
				t.Fatalf("tar made %d bytes, which is nothing sparse", len(archive))
			}
			a := newArena(t)
			if _, err := a.unpack(archive, unpack.Options{}); err != nil {
				t.Fatal(err)
			}
			got := describe(t, a.target, tree.Options{Times: true})
			if body(got) != body(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			var st unix.Stat_t
			if err := unix.Stat(filepath.Join(a.target, "middle"), &st); err != nil || st.Blocks*512 > 1<<20 {
				t.Errorf("%d bytes on disk, %v", st.Blocks*512, err)
			}
		})
	}
}

// body is all but the line of the root itself.
func body(description string) string {
	_, rest, _ := strings.Cut(description, "\n")
	return rest
}

// lower is what a whiteout deletes.
func lower() []entry {
	return []entry{
		file("a/1", "1"), file("a/2", "2"), file("b/1", "1"), file("c", "c"), file("d/sub/x", "x"), file("d/y", "y"), folder("e"), file("e/1", "1"),
		file("f/1", "1"), symlink("g", "a"), file("h/1", "1"),
	}
}

func upper() []entry {
	return []entry{
		file("a/.wh.1", ""),                            // deletes a file
		file(".wh.b", ""),                              // deletes a directory
		file("d/new", "n"), file("d/.wh..wh..opq", ""), // hides what was there, not what came before it
		file(".wh.c", ""), folder("c"), file("c/x", ""), // deleted, and a directory now
		folder("e"), file("e/2", "2"), file(".wh.e", ""), // the same in the other order
		file("f", "file"),     // replaces a directory
		file(".wh.g", ""),     // deletes the link, not what it leads to
		file(".wh.h", ""),     // a directory that is
		file("h/2", "2"),      // implied again
		file(".wh.never", ""), // deletes nothing
	}
}

const flattened = `"." d
"a" d
"a/2" f
"c" d
"c/x" f
"d" d
"d/new" f
"e" d
"e/2" f
"f" f
"h" d
"h/2" f
`

// TestDeletions: the three forms make the same of a deletion.
func TestDeletions(t *testing.T) {
	requireRoot(t)
	t.Run("applied", func(t *testing.T) {
		a := newArena(t)
		for _, entries := range [][]entry{lower(), upper()} {
			if _, err := a.unpack(pack(t, entries...), unpack.Options{Form: unpack.Applied}); err != nil {
				t.Fatal(err)
			}
		}
		if got := short(describe(t, a.target, tree.Options{})); got != flattened {
			t.Errorf("got\n%s\nwant\n%s", got, flattened)
		}
	})
	for form, xattr := range map[unpack.Form]string{unpack.Overlay: "trusted", unpack.OverlayUser: "user"} {
		t.Run(form.String(), func(t *testing.T) {
			a := newArena(t)
			if _, err := a.unpack(pack(t, upper()...), unpack.Options{Form: form}); err != nil {
				t.Fatal(err)
			}
			got := describe(t, a.target, tree.Options{})
			opaque := fmt.Sprintf(`{"%s.overlay.opaque"=79}`, xattr)
			for _, want := range []string{
				`"a/1" c 0000 0 0 0 0:0`, `"b" c 0000 0 0 0 0:0`, `"g" c 0000 0 0 0 0:0`, `"never" c 0000`,
				`"d" d 0755 0 0 0 - - ` + opaque, `"c" d 0755 0 0 0 - - ` + opaque, `"e" d 0755 0 0 0 - - ` + opaque, `"h" d 0755 0 0 0 - - ` + opaque,
				`"a" d 0755 0 0 0 - - {}`, `"f" f`,
			} {
				if !strings.Contains("\n"+got, "\n"+want) {
					t.Errorf("no line %s in\n%s", want, got)
				}
			}
		})
	}
}

// short keeps path and type of a description.
func short(description string) string {
	var b strings.Builder
	for line := range strings.Lines(description) {
		fields := strings.Fields(line)
		fmt.Fprintln(&b, fields[0], fields[1])
	}
	return b.String()
}

func TestOpaqueRootHidesLayersBelow(t *testing.T) {
	requireRoot(t)
	result, err := newArena(t).unpack(pack(t, file(".wh..wh..opq", ""), file("a", "")), unpack.Options{})
	if err != nil || !result.HidesBelow {
		t.Errorf("got %+v, %v", result, err)
	}
}

func TestOwnersAreMapped(t *testing.T) {
	requireRoot(t)
	archive := pack(t, file("root", "x").xattr("security.capability", string(capability)), file("user", "x").with(func(h *tar.Header) { h.Uid, h.Gid = 1000, 1000 }), file("i/f", "x"))
	a := newArena(t)
	maps := []unpack.IDMap{{Inside: 0, Outside: 100000, Size: 1}, {Inside: 1, Outside: 200000, Size: 65535}}
	if _, err := a.unpack(archive, unpack.Options{UIDs: maps, GIDs: maps}); err != nil {
		t.Fatal(err)
	}
	got := describe(t, a.target, tree.Options{NoContent: true})
	for _, want := range []string{`"root" f 0644 100000 100000`, `"user" f 0644 200999 200999`, `"i" d 0755 100000 100000`, "=0100000300040000000000000000000000000000a0860100}"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	_, err := newArena(t).unpack(archive, unpack.Options{UIDs: maps[:1], GIDs: maps})
	requireRefusal(t, err, `entry "user": user ID 1000 is not in the ID map`)
}

func TestOverlaysOwnXattrsAreLeftOut(t *testing.T) {
	requireRoot(t)
	a := newArena(t)
	result, err := a.unpack(pack(t,
		file("a", "x").xattr("trusted.overlay.metacopy", "y").xattr("user.overlay.redirect", "/etc").xattr("user.fuseoverlayfs.opaque", "y").
			xattr("trusted.other", "y").xattr("security.selinux", "l").xattr("user.ok", "y")), unpack.Options{KeepXattr: func(name string) bool { return strings.HasPrefix(name, "trusted.") }})
	if err != nil || result.Skipped != 4 {
		t.Errorf("got %+v, %v", result, err)
	}
	if got := describe(t, a.target, tree.Options{NoContent: true}); !strings.Contains(got, `{"trusted.other"=79,"user.ok"=79}`) {
		t.Errorf("got\n%s", got)
	}
}

// TestManyDirectories: times and rights of more directories than are kept in
// memory.
func TestManyDirectories(t *testing.T) {
	var entries []entry
	pad := strings.Repeat("x", 200)
	for i := range 25000 {
		entries = append(entries, folder(fmt.Sprintf("%d%s", i, pad)))
	}
	a := newArena(t)
	if _, err := a.unpack(pack(t, entries...), unpack.Options{OwnAll: true}); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 12345, 24999} {
		info, err := os.Stat(filepath.Join(a.target, fmt.Sprintf("%d%s", i, pad)))
		if err != nil || !info.ModTime().Equal(modified) {
			t.Errorf("directory %d: %v, %v", i, info.ModTime(), err)
		}
	}
}
