package compose

// Update tells whether golden files are to be written.
func Update() bool { return *update }
