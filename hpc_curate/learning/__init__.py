"""Small models fitted from people's labels: linear ones, in numpy, with figures from videos that they have not seen."""
