package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// MaxDocument is the largest manifest, index or configuration that is read, in
// bytes. Registries refuse manifests above 4 MiB (distribution-spec, "Pushing
// Manifests").
const MaxDocument = 4 << 20

// maxLayers bounds what a hostile manifest can ask for. Docker's limit is 127.
const maxLayers = 1000

// Media types of image documents.
const (
	TypeOCIIndex       = "application/vnd.oci.image.index.v1+json"
	TypeOCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	TypeOCIConfig      = "application/vnd.oci.image.config.v1+json"
	TypeOCILayer       = "application/vnd.oci.image.layer.v1.tar"
	TypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	TypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	TypeDockerConfig   = "application/vnd.docker.container.image.v1+json"
	TypeDockerLayer    = "application/vnd.docker.image.rootfs.diff.tar"
)

// layerTypes are those whose content is a tar stream, plain or compressed; the
// unpacker tells which by the stream itself. The nondistributable ones are
// fetched as others are: what a registry does not have, it says.
var layerTypes = []string{
	TypeOCILayer, TypeOCILayer + "+gzip", TypeOCILayer + "+zstd",
	"application/vnd.oci.image.layer.nondistributable.v1.tar",
	"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
	"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
	TypeDockerLayer, TypeDockerLayer + ".gzip", TypeDockerLayer + ".zstd",
	"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
}

// Descriptor names content by its type, digest and size in bytes.
type Descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      Digest            `json:"digest"`
	Size        int64             `json:"size"`
	URLs        []string          `json:"urls,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    *Platform         `json:"platform,omitempty"`
}

// Manifest is one image for one platform. Layers go from the lowest to the
// highest.
type Manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	Config        Descriptor        `json:"config"`
	Layers        []Descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// Index is one image for several platforms.
type Index struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	Manifests     []Descriptor      `json:"manifests"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// IsIndex tells whether mediaType is that of an Index.
func IsIndex(mediaType string) bool {
	return mediaType == TypeOCIIndex || mediaType == TypeDockerList
}

// IsManifest tells whether mediaType is that of a Manifest.
func IsManifest(mediaType string) bool {
	return mediaType == TypeOCIManifest || mediaType == TypeDockerManifest
}

// Accept is what a client can read, for an Accept header.
func Accept() string {
	return strings.Join([]string{TypeOCIIndex, TypeOCIManifest, TypeDockerList, TypeDockerManifest}, ", ")
}

// Kind returns the media type of a manifest or index: what the document says of
// itself or, where it says nothing, what told says (a descriptor or a
// Content-Type header), or what its fields are. A document that contradicts told
// is refused (CVE-2021-41190: one digest must not be read as two things).
func Kind(data []byte, told string) (string, error) {
	var probe struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Config        json.RawMessage `json:"config"`
		Layers        json.RawMessage `json:"layers"`
		Manifests     json.RawMessage `json:"manifests"`
	}
	if err := decode(data, &probe); err != nil {
		return "", fmt.Errorf("read manifest: %w", err)
	}
	if probe.Manifests != nil && (probe.Config != nil || probe.Layers != nil) {
		return "", fmt.Errorf("read manifest: %w: it has both manifests and layers (CVE-2021-41190)", ErrInvalid)
	}
	told, _, _ = strings.Cut(told, ";")
	told = strings.TrimSpace(told)
	kind := probe.MediaType
	switch {
	case kind != "" && (IsIndex(told) || IsManifest(told)) && kind != told:
		return "", fmt.Errorf("read manifest: %w: it says to be %.100q and was announced as %q", ErrMediaType, kind, told)
	case kind != "":
	case IsIndex(told) || IsManifest(told):
		kind = told
	case probe.SchemaVersion == 1:
		return "", fmt.Errorf("read manifest: %w: schema 1, which Docker gave up in 2019; push the image again with a current tool", ErrMediaType)
	case probe.Manifests != nil:
		kind = TypeOCIIndex
	case probe.Config != nil:
		kind = TypeOCIManifest
	}
	switch {
	case IsIndex(kind) && probe.Config == nil && probe.Layers == nil:
		return kind, nil
	case IsManifest(kind) && probe.Manifests == nil:
		return kind, nil
	}
	return "", fmt.Errorf("read manifest: %w: %.100q", ErrMediaType, kind)
}

// ParseManifest reads and checks a manifest whose Kind is known to be one.
func ParseManifest(data []byte) (Manifest, error) {
	var m Manifest
	if err := decode(data, &m); err != nil {
		return Manifest{}, fmt.Errorf("read manifest: %w", err)
	}
	if err := m.check(); err != nil {
		return Manifest{}, fmt.Errorf("read manifest: %w", err)
	}
	return m, nil
}

func (m Manifest) check() error {
	if m.SchemaVersion != 2 {
		return fmt.Errorf("%w: schemaVersion is %d, not 2", ErrInvalid, m.SchemaVersion)
	}
	if m.Config.MediaType != TypeOCIConfig && m.Config.MediaType != TypeDockerConfig {
		return fmt.Errorf("%w: config is %.100q; this is no image of a program", ErrMediaType, m.Config.MediaType)
	}
	if err := m.Config.check(); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if m.Config.Size > MaxDocument {
		return fmt.Errorf("%w: config of %d bytes is above %d", ErrInvalid, m.Config.Size, MaxDocument)
	}
	if len(m.Layers) > maxLayers {
		return fmt.Errorf("%w: %d layers are more than %d", ErrInvalid, len(m.Layers), maxLayers)
	}
	for i, layer := range m.Layers {
		if !slices.Contains(layerTypes, layer.MediaType) {
			return fmt.Errorf("%w: layer %d is %.100q", ErrMediaType, i, layer.MediaType)
		}
		if err := layer.check(); err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
	}
	return nil
}

func (d Descriptor) check() error {
	if d.Digest == "" {
		return fmt.Errorf("%w: the digest is missing", ErrInvalid)
	}
	if d.Size < 0 {
		return fmt.Errorf("%w: size %d is negative", ErrInvalid, d.Size)
	}
	return nil
}

// ParseIndex reads and checks an index whose Kind is known to be one.
func ParseIndex(data []byte) (Index, error) {
	var x Index
	if err := decode(data, &x); err != nil {
		return Index{}, fmt.Errorf("read index: %w", err)
	}
	if x.SchemaVersion != 2 {
		return Index{}, fmt.Errorf("read index: %w: schemaVersion is %d, not 2", ErrInvalid, x.SchemaVersion)
	}
	for i, d := range x.Manifests {
		if err := d.check(); err != nil {
			return Index{}, fmt.Errorf("read index: manifest %d: %w", i, err)
		}
	}
	return x, nil
}

// decode reads one JSON document and nothing after it.
func decode(data []byte, into any) error {
	if len(data) > MaxDocument {
		return fmt.Errorf("%w: %d bytes are above %d", ErrInvalid, len(data), MaxDocument)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("%w: something follows the JSON document", ErrInvalid)
	}
	return nil
}
