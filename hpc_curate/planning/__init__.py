"""What a person asks before anything is queued: is it set up, what will it do, what will it cost."""
