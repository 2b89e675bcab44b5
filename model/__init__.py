"""What is the network?  ImageBERT; imports torch and nothing of ours."""
