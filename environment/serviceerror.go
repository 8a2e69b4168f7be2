package environment

import "fmt"

// ServiceError says that an instance of a service could not be brought up.
type ServiceError struct {
	Service  string
	Instance string
	// Stage is what was being done: image, create, start, ready, health, hook, exit.
	Stage string
	// LastLines of the instance's output, redacted.
	LastLines []string
	Err       error
}

func (e *ServiceError) Error() string {
	name := e.Service
	if e.Instance != "" && e.Instance != e.Service {
		name = e.Instance
	}
	return fmt.Sprintf("service %s: %s: %s", name, e.Stage, e.Err)
}

func (e *ServiceError) Unwrap() error { return e.Err }
