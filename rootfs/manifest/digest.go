package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

const digestPrefix = "sha256:"

// Digest is "sha256:" and 64 lower-case hexadecimal digits (image-spec,
// descriptor.md, "Digests"). The zero value is none. A Digest from ParseDigest or
// DigestOf is safe as part of a file name.
type Digest string

// ParseDigest checks s. Other algorithms than SHA-256 are refused: no registry
// in use needs them, and the store names files by the digits alone.
func ParseDigest(s string) (Digest, error) {
	digits, ok := strings.CutPrefix(s, digestPrefix)
	if !ok || len(digits) != 2*sha256.Size {
		return "", fmt.Errorf("%w: digest %.100q is not sha256: and 64 hexadecimal digits", ErrInvalid, s)
	}
	for _, c := range []byte(digits) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", fmt.Errorf("%w: digest %.100q is not sha256: and 64 hexadecimal digits", ErrInvalid, s)
		}
	}
	return Digest(s), nil
}

// DigestOf returns the digest of data.
func DigestOf(data []byte) Digest {
	sum := sha256.Sum256(data)
	return FromSum(sum[:])
}

// FromSum returns the digest whose SHA-256 sum (32 bytes) is given.
func FromSum(sum []byte) Digest {
	return Digest(digestPrefix + hex.EncodeToString(sum))
}

// Hex returns the 64 digits, which name files in the store.
func (d Digest) Hex() string { return strings.TrimPrefix(string(d), digestPrefix) }

// Short returns the first 12 digits, for people.
func (d Digest) Short() string {
	h := d.Hex()
	return h[:min(12, len(h))]
}

// UnmarshalText refuses what ParseDigest refuses, except an empty text.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*d = ""
		return nil
	}
	parsed, err := ParseDigest(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}
