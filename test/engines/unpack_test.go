package engines

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/rootfs/tree"
)

// TestUnpackedTrees: what `sandboxrun bundle build` makes of images is what
// containerd and podman make of them: paths, types, modes, owners, device numbers, sizes,
// times, xattrs, links and contents. podman needs as long as all else
// together, so it is asked with `make engines PEERS=yes` only.
func TestUnpackedTrees(t *testing.T) {
	requireVM(t)
	before := machineNow()
	images := trickyImages(t)
	dir := t.TempDir()
	// podman makes a name of an image of its path, and has no capitals in names.
	layout := filepath.Join(shared.dir, "tricky")
	writeTricky(t, layout, images)

	var ours trees
	peers := map[string]trees{}
	t.Run("unpack", func(t *testing.T) {
		t.Run("sandboxrun", func(t *testing.T) {
			t.Parallel()
			ours = unpackOurs(t, dir, layout, images)
		})
		t.Run("peers", func(t *testing.T) {
			t.Parallel()
			peers["containerd"] = unpackContainerd(t, dir, layout, images)
			if os.Getenv("SANDBOXRUN_PEERS") != "" {
				peers["podman"] = unpackPodman(t, layout, images)
			}
		})
	})
	for _, i := range images {
		t.Run(i.name, func(t *testing.T) {
			for peer, all := range peers {
				i.compare(t, peer, all[i.name], ours[i.name])
			}
		})
	}
	before.requireSame(t)
}

// trees are descriptions of directories, a line a file, by image.
type trees map[string][]string

func describe(t *testing.T, dir string) []string {
	t.Helper()
	var text strings.Builder
	if err := tree.Print(&text, dir, tree.Options{Times: true}); err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(text.String()), "\n")
}

// compare fails the test for each line that one has and the other doesn't, and for
// each known difference that isn't there.
func (i tricky) compare(t *testing.T, peer string, theirs, ours []string) {
	t.Helper()
	if len(theirs) < 4 || len(ours) < 4 {
		t.Fatalf("%s has %d files, sandboxrun %d", peer, len(theirs), len(ours))
	}
	seen := map[string]bool{}
	for _, line := range differences(peer, i.comparable(theirs), i.comparable(ours)) {
		_, file, _ := strings.Cut(line, ": ")
		known := slices.IndexFunc(i.known[peer], func(known string) bool { return strings.HasPrefix(file, known) })
		if known < 0 {
			t.Error(line)
			continue
		}
		seen[i.known[peer][known]] = true
	}
	for _, known := range i.known[peer] {
		if !seen[known] {
			t.Errorf("%s is no longer different of %s", known, peer)
		}
	}
}

// directoryTime is the time in the line of a directory.
var directoryTime = regexp.MustCompile(`^(".*" d (?:\S+ ){5})\S+`)

// comparable returns what the image says of its files. The root directory is left
// out: each engine makes its own, whatever the image says.
func (i tricky) comparable(lines []string) []string {
	lines = slices.Clone(lines[1:])
	if i.untimed {
		for n := range lines {
			lines[n] = directoryTime.ReplaceAllString(lines[n], "$1-")
		}
	}
	return lines
}

// differences returns the lines that one has and the other doesn't, each after
// its name.
func differences(peer string, theirs, ours []string) []string {
	var found []string
	for _, side := range []struct {
		name        string
		lines, than []string
	}{{"sandboxrun", ours, theirs}, {peer, theirs, ours}} {
		for _, line := range side.lines {
			if !slices.Contains(side.than, line) {
				found = append(found, side.name+": "+line)
			}
		}
	}
	return found
}

// unpackOurs builds a bundle of each image.
func unpackOurs(t *testing.T, dir, layout string, images []tricky) trees {
	t.Helper()
	c := client{argv: []string{sandboxrun(t), "--root", dir + "/state", "--data-root", dir + "/data"}, env: os.Environ()}
	all := trees{}
	for _, i := range images {
		bundle := filepath.Join(dir, i.name)
		c.succeeds(t, "bundle", "build", "--quiet", "--output", bundle, "oci:"+layout+":"+i.name)
		all[i.name] = describe(t, bundle+"/rootfs")
		if i.name == "deletions" {
			requireChangeIsSeen(t, bundle+"/rootfs", all[i.name])
		}
		c.succeeds(t, "bundle", "remove", bundle)
	}
	return all
}

// requireChangeIsSeen is the control: with another byte in a/2, in the same second
// of the same size, this is the only difference.
func requireChangeIsSeen(t *testing.T, dir string, was []string) {
	t.Helper()
	path := filepath.Join(dir, "a/2")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(path, []byte("~"), 0), os.Chtimes(path, time.Time{}, info.ModTime())); err != nil {
		t.Fatal(err)
	}
	is := differences("changed", describe(t, dir), was)
	if len(is) != 2 || !strings.HasPrefix(is[0], `sandboxrun: "a/2" f`) || !strings.HasPrefix(is[1], `changed: "a/2" f`) {
		t.Errorf("with one byte of %q changed, the differences are %q", path, is)
	}
}

// unpackContainerd imports the images into the newest containerd and mounts them.
func unpackContainerd(t *testing.T, dir, layout string, images []tricky) trees {
	t.Helper()
	c := newContainerd(t, fromEnvironment(t, "SANDBOXRUN_ENGINES"), false)
	defer c.remove(t)
	archive := filepath.Join(dir, "layout.tar")
	if err := os.WriteFile(archive, tarOf(t, layout), 0o600); err != nil {
		t.Fatal(err)
	}
	c.succeeds(t, "image", "import", archive)
	all := trees{}
	for _, i := range images {
		target := filepath.Join(dir, "containerd-"+i.name)
		if err := os.Mkdir(target, 0o755); err != nil {
			t.Fatal(err)
		}
		c.succeeds(t, "image", "mount", trickyName(i), target)
		all[i.name] = describe(t, target)
		// A client that the other test starts just now may have a copy of a descriptor
		// there until it executes.
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// unpackPodman pulls the images into podman and mounts them.
func unpackPodman(t *testing.T, layout string, images []tricky) trees {
	t.Helper()
	p := newPodman(t, nil)
	defer p.remove(t)
	pull, names := []string{"pull", "--quiet"}, map[string]string{}
	for _, i := range images {
		pull = append(pull, "oci:"+layout+":"+i.name)
	}
	ids := strings.Fields(p.succeeds(t, pull...))
	if len(ids) != len(images) {
		t.Fatalf("podman pulled %q", ids)
	}
	for i, id := range ids {
		names[id] = images[i].name
	}
	var mounts []struct{ ID, Mountpoint string }
	if err := json.Unmarshal([]byte(p.succeeds(t, slices.Concat([]string{"image", "mount", "--format", "json"}, ids)...)), &mounts); err != nil {
		t.Fatal(err)
	}
	all := trees{}
	for _, m := range mounts {
		all[names[m.ID]] = describe(t, m.Mountpoint)
	}
	p.succeeds(t, "image", "unmount", "--all")
	return all
}

// tarOf packs the files of a directory.
func tarOf(t *testing.T, dir string) []byte {
	t.Helper()
	var packed archive
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, path))
		if err == nil {
			packed.add(t, tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: 0o644}, data)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return packed.bytes(t)
}
