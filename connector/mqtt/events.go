package mqtt

import "github.com/eclipse/paho.golang/paho"

// carriesEvent says that user properties hold a CloudEvent in binary mode: its attributes are user properties of their own names, and specversion tells that
// there is an event (CloudEvents MQTT protocol binding, section 3.1.3.1).
func carriesEvent(all paho.UserProperties) bool {
	for _, u := range all {
		if u.Key == "specversion" {
			return true
		}
	}
	return false
}
