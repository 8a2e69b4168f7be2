package runtime

import "fmt"

// ConfigFile returns the path of the file that the container's spec was read
// from, "" if that is config.json in its bundle.
func (c *Container) ConfigFile() (string, error) {
	rec, err := c.runtime.readRecord(c.id)
	if err != nil {
		return "", fmt.Errorf("container %q: %w", c.id, err)
	}
	if rec == nil {
		return "", nil
	}
	return rec.Config, nil
}
