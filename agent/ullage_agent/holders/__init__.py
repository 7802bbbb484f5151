"""Who holds which card, as the node itself can see it: scheduler hooks, the kubelet, and the processes on the cards."""
