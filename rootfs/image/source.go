package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/sandboxrun/sandboxrun/rootfs/pack"
	"github.com/sandboxrun/sandboxrun/rootfs/unpack"
)

// Kind is the sort of a source.
type Kind string

// The kinds of sources.
const (
	Registry      Kind = "docker"         // docker://REFERENCE
	Layout        Kind = "oci"            // oci:DIR[:TAG]
	LayoutArchive Kind = "oci-archive"    // oci-archive:FILE[:TAG]
	DockerArchive Kind = "docker-archive" // docker-archive:FILE[:REFERENCE]
	Directory     Kind = "dir"            // dir:DIR, a root filesystem
	Tar           Kind = "tar"            // tar:FILE, a root filesystem, packed or not
	Binary        Kind = "binary"         // binary:FILE, a static executable
)

// localKinds are those whose source is a path.
var localKinds = []Kind{Layout, LayoutArchive, DockerArchive, Directory, Tar, Binary}

// Source says where an image comes from.
type Source struct {
	Kind Kind
	// Path is absolute; empty for Registry.
	Path string
	// Reference is the registry reference in full ("docker.io/library/redis:7"), or
	// the tag or name within an archive, which may be empty.
	Reference string
}

// ParseSource reads a source as a user writes it. Without a prefix, a directory
// with a file oci-layout is a Layout, another directory a Directory, a static
// executable a Binary, and a tar file one of the archives or a Tar by what it
// contains. Anything else is ErrSource, and the error says what could be written.
// "host:" is none of this package's (see hostroot). A relative path is meant from
// cwd, which is absolute.
func ParseSource(s, cwd string) (Source, error) {
	if reference, ok := strings.CutPrefix(s, "docker://"); ok {
		full, err := Normalize(reference)
		if err != nil {
			return Source{}, err
		}
		return Source{Kind: Registry, Reference: full}, nil
	}
	kind, rest, found := strings.Cut(s, ":")
	if found && slices.Contains(localKinds, Kind(kind)) {
		return localSource(Kind(kind), rest, cwd)
	}
	if s == "" {
		return Source{}, fmt.Errorf("cannot use source \"\": %w; %s", ErrSource, sourceForms)
	}
	path := absolute(s, cwd)
	kindOf, err := recognize(path)
	if err != nil {
		return Source{}, fmt.Errorf("cannot use source %q: %w: %w; %s", s, ErrSource, err, sourceForms)
	}
	return Source{Kind: kindOf, Path: path}, nil
}

const sourceForms = "write docker://NAME[:TAG], oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE, dir:DIR, tar:FILE or binary:FILE"

// Normalize gives a registry reference its full form: "redis" is
// "docker.io/library/redis:latest".
func Normalize(reference string) (string, error) {
	ref, err := name.ParseReference(reference, name.WeakValidation)
	if err != nil {
		return "", fmt.Errorf("cannot use image reference %.200q: %w; write NAME, NAME:TAG or NAME@sha256:DIGEST, in lower case", reference, ErrSource)
	}
	full := ref.Name()
	if rest, ok := strings.CutPrefix(full, name.DefaultRegistry+"/"); ok {
		full = "docker.io/" + rest
	}
	return full, nil
}

func localSource(kind Kind, rest, cwd string) (Source, error) {
	if rest == "" {
		return Source{}, fmt.Errorf("cannot use source %q: %w: the path is missing; write %s:PATH", kind+":", ErrSource, kind)
	}
	path, reference := rest, ""
	// A path with a colon in it counts if it exists; else what follows the first
	// colon names the image, as with skopeo.
	if _, err := os.Lstat(absolute(rest, cwd)); err != nil && (kind == Layout || kind == LayoutArchive || kind == DockerArchive) {
		path, reference, _ = strings.Cut(rest, ":")
	}
	source := Source{Kind: kind, Path: absolute(path, cwd), Reference: reference}
	info, err := os.Stat(source.Path)
	if err != nil {
		return Source{}, fmt.Errorf("cannot use source %q: %w: %w", source, ErrSource, bare(err))
	}
	wantDir := kind == Layout || kind == Directory
	if info.IsDir() != wantDir || (!wantDir && !info.Mode().IsRegular()) {
		want := "a file"
		if wantDir {
			want = "a directory"
		}
		return Source{}, fmt.Errorf("cannot use source %q: %w: it is not %s", source, ErrSource, want)
	}
	return source, nil
}

func absolute(path, cwd string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(cwd, path)
}

// bare strips the operation and path that the message names already.
func bare(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

// recognize tells what is at path.
func recognize(path string) (Kind, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", bare(err)
	}
	if info.IsDir() {
		if _, err := os.Stat(filepath.Join(path, "oci-layout")); err == nil {
			return Layout, nil
		}
		return Directory, nil
	}
	if !info.Mode().IsRegular() {
		return "", errors.New("it is neither a file nor a directory")
	}
	f, err := os.Open(path)
	if err != nil {
		return "", bare(err)
	}
	defer f.Close()
	if notStatic := pack.IsStatic(f); notStatic == nil {
		return Binary, nil
	} else if head := make([]byte, 4); readsELF(f, head) {
		return "", notStatic
	}
	return recognizeArchive(f)
}

func readsELF(f io.ReaderAt, head []byte) bool {
	_, err := f.ReadAt(head, 0)
	return err == nil && string(head) == "\x7fELF"
}

// sniffedEntries is how many entries of a tar are looked at for what tells an
// archive of images.
const sniffedEntries = 10000

func recognizeArchive(f io.ReadSeeker) (Kind, error) {
	unpacked, _, release, err := unpack.Decompress(f)
	if err != nil {
		return "", err
	}
	defer release()
	archive := tar.NewReader(unpacked)
	kind := Tar
	for i := range sniffedEntries {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) && i > 0 {
			return kind, nil
		}
		if err != nil {
			return "", errors.New("it is no tar archive, static program or directory")
		}
		switch strings.TrimPrefix(h.Name, "./") {
		case "manifest.json":
			return DockerArchive, nil
		case "oci-layout":
			kind = LayoutArchive // unless a manifest.json comes, which names images
		case "etc/", "usr/", "bin/", "etc", "usr", "bin":
			return Tar, nil
		}
	}
	return kind, nil
}

// String gives what ParseSource reads.
func (s Source) String() string {
	if s.Kind == Registry {
		return "docker://" + s.Reference
	}
	text := string(s.Kind) + ":" + s.Path
	if s.Reference != "" {
		text += ":" + s.Reference
	}
	return text
}

// display is the name under which the store keeps the image of a source.
func (s Source) display() string {
	if s.Kind == Registry {
		return s.Reference
	}
	return s.String()
}
