package manifest

import (
	"encoding/json"
	"fmt"
	"time"
)

// Config is an image's configuration (image-spec, config.md): what it is for,
// how its program starts, and the diff IDs of its layers, lowest first.
type Config struct {
	Created      *time.Time `json:"created,omitempty"`
	Author       string     `json:"author,omitempty"`
	Architecture string     `json:"architecture"`
	OS           string     `json:"os"`
	Variant      string     `json:"variant,omitempty"`
	Config       Execution  `json:"config"`
	RootFS       RootFS     `json:"rootfs"`
	History      []History  `json:"history,omitempty"`
}

// Execution is how an image's program starts.
type Execution struct {
	User         string              `json:"User,omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	// Env is NAME=VALUE, later ones win.
	Env        []string            `json:"Env,omitempty"`
	Entrypoint []string            `json:"Entrypoint,omitempty"`
	Cmd        []string            `json:"Cmd,omitempty"`
	Volumes    map[string]struct{} `json:"Volumes,omitempty"`
	WorkingDir string              `json:"WorkingDir,omitempty"`
	Labels     map[string]string   `json:"Labels,omitempty"`
	// StopSignal is a name such as SIGTERM, or a number.
	StopSignal string `json:"StopSignal,omitempty"`
	// ArgsEscaped is of Windows images; it is kept and means nothing here.
	ArgsEscaped bool `json:"ArgsEscaped,omitempty"`
	// Healthcheck is Docker's: durations in nanoseconds.
	Healthcheck *Healthcheck `json:"Healthcheck,omitempty"`
	Shell       []string     `json:"Shell,omitempty"`
}

// Healthcheck is how Docker asks a container how it is.
type Healthcheck struct {
	Test        []string      `json:"Test,omitempty"`
	Interval    time.Duration `json:"Interval,omitempty"`
	Timeout     time.Duration `json:"Timeout,omitempty"`
	StartPeriod time.Duration `json:"StartPeriod,omitempty"`
	Retries     int           `json:"Retries,omitempty"`
}

// RootFS lists the layers by the digests of their uncompressed tar streams.
type RootFS struct {
	Type    string   `json:"type"`
	DiffIDs []Digest `json:"diff_ids"`
}

// History tells how a layer came to be.
type History struct {
	Created    *time.Time `json:"created,omitempty"`
	CreatedBy  string     `json:"created_by,omitempty"`
	Author     string     `json:"author,omitempty"`
	Comment    string     `json:"comment,omitempty"`
	EmptyLayer bool       `json:"empty_layer,omitempty"`
}

// ParseConfig reads and checks an image's configuration.
func ParseConfig(data []byte) (Config, error) {
	var c Config
	if err := decode(data, &c); err != nil {
		return Config{}, fmt.Errorf("read image configuration: %w", err)
	}
	if c.RootFS.Type != "layers" {
		return Config{}, fmt.Errorf("read image configuration: %w: rootfs.type is %.100q, not \"layers\"", ErrInvalid, c.RootFS.Type)
	}
	if len(c.RootFS.DiffIDs) > maxLayers {
		return Config{}, fmt.Errorf("read image configuration: %w: %d layers are more than %d", ErrInvalid, len(c.RootFS.DiffIDs), maxLayers)
	}
	for i, d := range c.RootFS.DiffIDs {
		if d == "" {
			return Config{}, fmt.Errorf("read image configuration: %w: diff ID %d is empty", ErrInvalid, i)
		}
	}
	return c, nil
}

// Platform returns what the image is for.
func (c Config) Platform() Platform {
	return Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant}
}

// Agree says whether manifest and configuration speak of the same layers.
func Agree(m Manifest, c Config) error {
	if len(m.Layers) != len(c.RootFS.DiffIDs) {
		return fmt.Errorf("%w: the manifest has %d layers and the configuration %d", ErrInvalid, len(m.Layers), len(c.RootFS.DiffIDs))
	}
	return nil
}

// Encode returns v as the bytes that are stored and hashed: JSON, keys in the order
// of the fields, maps sorted, no spaces. The same value gives the same bytes.
func Encode(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode image document: %w", err)
	}
	return data, nil
}
